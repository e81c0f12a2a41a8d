package issuing

import (
	"context"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Enquiry asks this node for the certificate request of its instance of an external
// issuer: no other node can sign it.
type Enquiry struct {
	Caller     authority.Caller
	RequestID  string        // for the audit record; a repeat makes another request, which harms nobody
	ReceivedAt time.Duration // reading of Config.Elapsed when the request arrived
	Issuer     string
	Version    uint64 // 0 = the newest that this node's instance is published of
}

// Application is a certificate request, signed by the instance it is for.
type Application struct {
	DER      []byte // PKCS #10
	Subject  string // common name
	Version  uint64
	KID      string
	Node     lifecycle.NodeID
	Deadline time.Duration // reading of Config.Elapsed by which it must have been written to the caller
	Position state.Position
}

// Apply makes the certificate request of this node's instance.
func (o *Office) Apply(ctx context.Context, q Enquiry) (*Application, error) {
	v := o.Ledger.View()
	is := v.Issuer(lifecycle.KeyID(q.Issuer))
	switch {
	case is == nil:
		return nil, refuse(string(state.IssuerNotFound), "chancery issuer list", "there is no issuer %.80q", q.Issuer)
	case is.Kind != lifecycle.ExternalIssuer:
		return nil, refuse(string(state.Invalid), "chancery issuer show "+string(is.Name), "the CA certificates of %s are made here: it is of kind %s and needs no request", is.Name, is.Kind)
	}
	if q.Version == 0 {
		q.Version = o.newest(v, is.Name)
	}
	var draft *pki.Application
	var done Application
	st := signing.Structure{Verb: string(access.IssuerRequest),
		Make: func(m signing.Mandate) (tbs []byte, err error) {
			is := m.View.Issuer(m.Key.ID)
			i := m.Instance
			done = Application{Subject: is.CASubject(i.Version, i.KID), Version: i.Version, KID: i.KID, Node: i.Node}
			draft, err = pki.Apply(pki.CAOrder{Terms: is.IssuerTerms, Subject: done.Subject, SPKI: i.SPKI, Serial: o.draw(), Now: o.now()}, m.Key.Alg)
			if err != nil {
				return nil, refuseDraft(string(is.Name), err)
			}
			return draft.TBS, nil
		},
		Enter: func(_ context.Context, sig []byte) (_ uint64, err error) {
			done.DER, err = draft.Assemble(sig)
			return 0, err
		}}
	sig, err := o.Signer.Introduce(ctx, signing.Request{Caller: q.Caller, ID: q.RequestID, Key: q.Issuer, ReceivedAt: q.ReceivedAt}, q.Version, access.IssuerRequest, st)
	if err != nil {
		return nil, err
	}
	done.Deadline, done.Position = sig.Deadline, sig.Position
	return &done, nil
}

// newest is the latest version whose instance on this node can ask for a certificate, or
// else the latest there is, for the refusal to name.
func (o *Office) newest(v *state.View, issuer lifecycle.KeyID) (version uint64) {
	for _, ver := range v.Versions(issuer) {
		version = max(version, ver.Number)
	}
	for n := version; n > 0; n-- {
		ver := v.Version(issuer, n)
		if i := v.Instance(issuer, n, o.Ledger.NodeID()); ver != nil && i != nil && i.MayIntroduce(ver) {
			return n
		}
	}
	return version
}
