package main

import (
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
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
	} else {
		text += "; no other node answers OCSP for it"
	}
	switch {
	case i.RevokedAt != 0:
		text += fmt.Sprintf("; %s revokes its CA certificate after %s", i.Parent, when(i.RevokedAt))
	case i.Parent != "" && i.CRLUntil != 0:
		text += fmt.Sprintf("; nobody revokes its CA certificate: %s has nobody left who signs", i.Parent)
	}
	return text
}

func reprovisionNode(s *session) error {
	if err := s.confirm(fmt.Sprintf("This will give up key pairs of node %s for good (which says --plan)", s.arg(0)), s.arg(0)); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	r, err := c.Reprovision(s.ctx, s.arg(0), wire.Reprovision{Reason: lifecycle.Reason(s.String("reason")), Comment: s.String("comment"), All: s.Bool("all")}, s.changes()...)
	if err != nil {
		return err
	}
	v := view{value: r, names: []string{r.Node}}
	v.pair("node", r.Node)
	switch {
	case r.Plan:
		v.pair("plan", "nothing was changed")
		v.pair("fenced", fmt.Sprintf("within %d ms", r.FencedWithinMS))
	case r.Fenced:
		v.pair("fenced", "nobody signs with the old key pairs")
	default:
		v.pair("fenced", "not yet")
	}
	for _, k := range r.Keys {
		v.pair(k.Key, reprovisionedText(r.Plan, &k))
	}
	lossPairs(&v, r.Loss)
	for _, n := range r.Next {
		v.pair("next", n)
	}
	return s.show(v)
}

func reprovisionedText(plan bool, k *wire.ReprovisionedKey) string {
	var gone []string
	for _, n := range k.Gone {
		gone = append(gone, number(n))
	}
	text, would := "version "+strings.Join(gone, ", ")+" is given up there", "is"
	if plan {
		text, would = "version "+strings.Join(gone, ", ")+" would be given up there", "would be"
	}
	if k.NewVersion != 0 {
		return text + fmt.Sprintf("; version %d %s made, published, and used after the lead", k.NewVersion, would)
	}
	return text + "; no new version: " + k.Why
}
