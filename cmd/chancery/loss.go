package main

import (
	"fmt"

	"github.com/chancery-project/chancery/transport/wire"
)

// lossPairs shows what ends with a node's key pairs, what is urgent first.
func lossPairs(v *view, l *wire.Loss) {
	if l == nil {
		return
	}
	v.pair("key pairs", fmt.Sprintf("%d of %s", l.Instances, l.Node))
	if l.Deadline != 0 {
		v.pair("deadline", when(l.Deadline)+": by then its certificates must be issued again")
	}
	for _, k := range l.Keys {
		v.pair("key "+k.Key, fmt.Sprintf("nobody signs with version %d any more (%s)", k.Version, k.Custody))
	}
	for _, i := range l.Issuers {
		v.pair("issuer "+i.Issuer, lostIssuerText(&i))
	}
	for _, u := range l.Unknown {
		v.pair("not known", u)
	}
}

func lostIssuerText(i *wire.LostIssuer) string {
	text := fmt.Sprintf("%s: %d certificates to issue again; nobody signs its CRL after number %d, which ends at %s",
		i.Subject, i.Certificates, i.CRLNumber, when(i.CRLUntil))
	if i.OCSPUntil != 0 {
		text += "; OCSP until " + when(i.OCSPUntil)
	}
	if i.RevokedAt != 0 {
		text += fmt.Sprintf("; %s revokes its CA certificate after %s", i.Parent, when(i.RevokedAt))
	}
	return text
}
