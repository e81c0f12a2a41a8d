package issuing

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// The cluster's own certificates: CA certificates of instances, and the OCSP responder
// certificates of nodes. Nobody asks for them; each node makes those that its instances
// are to sign, whenever it finds one lacking.

// own is one certificate of the cluster's own.
type own struct {
	parent  *lifecycle.CACert // whose instance signs; nil = the root signs itself
	profile string
	draft   func(ca *pki.CA, serial lifecycle.Serial) (*pki.Draft, error)
	bind    func(ctx context.Context, der []byte, serial lifecycle.Serial, subject string) (state.Outcome, error)
}

// actor is how a node appears in records of what it does by itself.
func (o *Office) actor(v *state.View) string {
	if n := v.Node(o.Ledger.NodeID()); n != nil {
		return "node:" + n.Name
	}
	return "node:" + o.Ledger.NodeID().Short()
}

// make signs one of the cluster's own certificates with this node's instance.
func (o *Office) make(ctx context.Context, v *state.View, w own) error {
	ca, err := o.ca(v, w.parent)
	if err != nil {
		return err
	}
	j := &job{Order: Order{Caller: authority.Caller{Principal: o.actor(v)}, Issuer: string(w.parent.Issuer), Profile: w.profile, ReceivedAt: o.Elapsed()},
		verb: "cert." + w.profile, ca: w.parent}
	st := signing.Structure{Verb: j.verb,
		Make: func(m signing.Mandate) ([]byte, error) {
			if j.draft, err = w.draft(ca, o.draw()); err != nil {
				return nil, refuseDraft(j.Issuer, err)
			}
			d, hash := j.draft, sha256.Sum256([]byte(w.profile))
			j.item = command.IssueItem{Serial: d.Serial, Issuer: m.Key.ID, Version: m.Version.Number, KID: m.Instance.KID, Profile: w.profile,
				ProfileHash: hash[:], TBSHash: d.TBSHash[:], SPKIHash: d.SPKIHash[:], Subject: d.Subject, NotBefore: d.NotBefore, NotAfter: d.NotAfter,
				DeadlineAt: o.now().Add(intentLife()), Requester: j.Caller.Principal}
			return d.TBS, nil
		},
		Announce: func(ctx context.Context) error { return o.announceOne(ctx, &j.item) },
		Enter:    func(ctx context.Context, sig []byte) (uint64, error) { return o.enter(ctx, j, sig) }}
	req := signing.Request{Caller: j.Caller, Key: j.Issuer, ReceivedAt: j.ReceivedAt}
	if _, err := o.Signer.Uphold(ctx, req, w.parent.Version, st); err != nil {
		return err
	}
	return accepted(w.bind(ctx, j.der, j.draft.Serial, j.draft.Subject))
}

func accepted(out state.Outcome, err error) error {
	if err != nil {
		return err
	}
	return out.Err()
}

// root has an instance of a root sign its own CA certificate.
func (o *Office) root(ctx context.Context, v *state.View, is *lifecycle.Issuer, i *lifecycle.Instance) error {
	k := v.Key(is.Name)
	var draft *pki.Draft
	st := signing.Structure{Verb: "cert.root",
		Make: func(m signing.Mandate) (tbs []byte, err error) {
			draft, err = pki.DraftRoot(pki.CAOrder{Terms: is.IssuerTerms, Subject: is.CASubject(i.Version, i.KID), SPKI: i.SPKI, Serial: o.draw(), Now: o.now()}, k.Alg)
			if err != nil {
				return nil, refuseDraft(string(is.Name), err)
			}
			return draft.TBS, nil
		},
		Enter: func(ctx context.Context, sig []byte) (uint64, error) {
			der, err := draft.Assemble(sig)
			if err != nil {
				return 0, err
			}
			out, err := o.Log.BindCACert(ctx, command.BindCACert{Issuer: is.Name, Version: i.Version, Node: i.Node, DER: der, Subject: draft.Subject})
			return out.Index, accepted(out, err)
		}}
	_, err := o.Signer.Introduce(ctx, signing.Request{Caller: authority.Caller{Principal: o.actor(v)}, Key: string(is.Name), ReceivedAt: o.Elapsed()}, i.Version, "", st)
	return err
}

// certify has an instance of a parent sign the CA certificate of an instance below it.
func (o *Office) certify(ctx context.Context, v *state.View, is *lifecycle.Issuer, i *lifecycle.Instance, parent *lifecycle.CACert) error {
	return o.make(ctx, v, own{parent: parent, profile: lifecycle.ProfileCA,
		draft: func(ca *pki.CA, serial lifecycle.Serial) (*pki.Draft, error) {
			return ca.DraftCA(pki.CAOrder{Terms: is.IssuerTerms, Subject: is.CASubject(i.Version, i.KID), SPKI: i.SPKI, Serial: serial, Now: o.now()})
		},
		bind: func(ctx context.Context, der []byte, _ lifecycle.Serial, subject string) (state.Outcome, error) {
			return o.Log.BindCACert(ctx, command.BindCACert{Issuer: is.Name, Version: i.Version, Node: i.Node, DER: der, Subject: subject})
		}})
}

// delegate has an instance sign the certificate by which a node answers OCSP requests
// about what the instance signed.
func (o *Office) delegate(ctx context.Context, v *state.View, n *lifecycle.Node, parent *lifecycle.CACert) error {
	key, err := x509.ParsePKIXPublicKey(n.ResponderKey)
	if err != nil {
		return fmt.Errorf("read the responder key of %s: %w", n.Name, err)
	}
	kind, err := pki.KeyType(key)
	if err != nil {
		return fmt.Errorf("the responder key of %s: %w", n.Name, err)
	}
	return o.make(ctx, v, own{parent: parent, profile: lifecycle.ProfileOCSP,
		draft: func(ca *pki.CA, serial lifecycle.Serial) (*pki.Draft, error) {
			return ca.Draft(pki.Order{Request: &pki.Request{Key: key, KeyType: kind, SPKI: n.ResponderKey, CommonName: "OCSP " + n.Name + " " + lifecycle.ShortKID(parent.KID)},
				Requester: pki.Requester{Roles: []lifecycle.Role{lifecycle.Admin}}, Profile: pki.Builtin(lifecycle.ProfileOCSP), Serial: serial, Now: o.now()})
		},
		bind: func(ctx context.Context, _ []byte, serial lifecycle.Serial, _ string) (state.Outcome, error) {
			return o.Log.BindResponder(ctx, command.BindResponder{Node: n.ID, Serial: serial})
		}})
}
