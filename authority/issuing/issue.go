package issuing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Order is a caller's request for a certificate.
type Order struct {
	Caller     authority.Caller
	RequestID  string        // UUIDv7; a repeat is given the same certificate
	ReceivedAt time.Duration // reading of Config.Elapsed when the request arrived
	Issuer     string
	Profile    string
	CSR        []byte                 // PKCS#10, DER or PEM
	Names      pki.Names              // beside those in CSR
	TTL        lifecycle.Milliseconds // 0 = the profile's default
	Replaces   *lifecycle.Serial      // renews this one
}

// digest names what was asked: the same request id with another one is refused.
func (o *Order) digest() [32]byte {
	h := sha256.New()
	for _, s := range []string{o.Issuer, o.Profile, fmt.Sprint(o.TTL), fmt.Sprint(o.Replaces != nil), fmt.Sprint(o.Names), string(o.CSR)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	if o.Replaces != nil {
		h.Write(o.Replaces[:])
	}
	return [32]byte(h.Sum(nil))
}

// Issued is a certificate that stands in the log.
type Issued struct {
	Serial   lifecycle.Serial
	DER      []byte
	Chain    []*lifecycle.CACert // its CA certificate first, the root last where it is known
	Profile  string
	Node     lifecycle.NodeID // whose instance signed
	Index    uint64           // of the entry that recorded it
	Replayed bool             // of an earlier request with the same id
	Position state.Position
}

// intentLife is how long an announced certificate may wait for its record before it is
// revoked: far longer than any HSM takes.
func intentLife() lifecycle.Milliseconds {
	if fault.On(fault.ShortIntents) {
		return 5 * lifecycle.Second
	}
	return 10 * lifecycle.Minute
}

// Issue issues one certificate.
func (o *Office) Issue(ctx context.Context, order Order) (is *Issued, err error) {
	defer func() { o.count(order.Issuer, order.Profile, is, err) }()
	digest := order.digest()
	if done, err := o.replay(&order, digest); done != nil || err != nil {
		return done, err
	}
	req, err := pki.ParseCSR(order.CSR)
	if err != nil {
		return nil, refuse("invalid", "openssl req -new makes one", "%v", err)
	}
	req.Names = join(req.Names, order.Names)
	is, err = o.overtaking(&order, digest, func(uint64) (*Issued, error) {
		return o.issue(ctx, &job{Order: order, request: req, digest: digest[:], verb: "cert.issue"})
	})
	var unknown *authority.Refusal
	if errors.As(err, &unknown) && unknown.Code == string(state.KeyNotFound) {
		return nil, refuse(string(state.IssuerNotFound), "chancery issuer list", "there is no issuer %.80q", order.Issuer)
	}
	return is, err
}

// maxTries is how often a request is followed from one version to the next: a second
// rotation within one request is none that anybody makes.
const maxTries = 2

// overtaking issues, and once more when the issuer went over to its next version
// meanwhile: what the version before signed then is either on record, and given out, or
// revoked.
func (o *Office) overtaking(order *Order, digest [32]byte, issue func(version uint64) (*Issued, error)) (*Issued, error) {
	version := o.active(order.Issuer)
	for try := 1; ; try++ {
		is, err := issue(version)
		now := o.active(order.Issuer)
		if err == nil || now == 0 || now == version || try == maxTries {
			return is, err
		}
		version = now
		if done, failed := o.replay(order, digest); failed != nil {
			return nil, err
		} else if done != nil {
			return done, nil
		}
	}
}

// active is the version of the issuer that signs now, 0 when there is none.
func (o *Office) active(issuer string) uint64 {
	if k := o.Ledger.View().Key(lifecycle.KeyID(issuer)); k != nil {
		return k.Active
	}
	return 0
}

func join(a, b pki.Names) pki.Names {
	return pki.Names{DNS: append(a.DNS, b.DNS...), IPs: append(a.IPs, b.IPs...), URIs: append(a.URIs, b.URIs...), Emails: append(a.Emails, b.Emails...)}
}

// job is one certificate on its way.
type job struct {
	Order
	request       *pki.Request
	digest        []byte
	verb          string
	byCertificate bool // the certificate that is renewed asks
	version       uint64

	draft *pki.Draft
	item  command.IssueItem
	ca    *lifecycle.CACert
	der   []byte
}

func (o *Office) issue(ctx context.Context, j *job) (*Issued, error) {
	st := signing.Structure{Verb: j.verb,
		Make:     func(m signing.Mandate) ([]byte, error) { return o.draft(m, j) },
		Announce: func(ctx context.Context) error { return o.announceOne(ctx, &j.item) },
		Enter:    func(ctx context.Context, sig []byte) (uint64, error) { return o.enter(ctx, j, sig) }}
	req := signing.Request{Caller: j.Caller, ID: j.RequestID, Key: j.Issuer, ReceivedAt: j.ReceivedAt}
	var sig signing.Signature
	var err error
	if j.byCertificate {
		sig, err = o.Signer.Uphold(ctx, req, j.version, st)
	} else {
		sig, err = o.Signer.SignStructure(ctx, req, st)
	}
	if err != nil {
		return nil, err
	}
	return &Issued{Serial: j.draft.Serial, DER: j.der, Chain: Chain(o.Ledger.View(), j.ca), Profile: j.Profile, Node: sig.Node,
		Index: sig.RecordIndex, Position: sig.Position}, nil
}

// draft decides what the certificate says.
func (o *Office) draft(m signing.Mandate, j *job) ([]byte, error) {
	if m.View.Issuer(m.Key.ID) == nil {
		return nil, refuse(string(state.IssuerNotFound), "chancery issuer list", "%s is a key of purpose certificate and no issuer", m.Key.ID)
	}
	j.ca = m.View.CACert(m.Key.ID, m.Version.Number, m.Instance.Node)
	if j.ca == nil {
		return nil, refuse(string(state.NoCACertificate), "chancery issuer show "+string(m.Key.ID), "this node's instance of %s has no CA certificate yet", m.Key.ID)
	}
	ca, err := o.ca(m.View, j.ca)
	if err != nil {
		return nil, err
	}
	profile, err := Profile(m.View, j.Profile)
	if err != nil {
		return nil, err
	}
	now := o.now()
	j.draft, err = ca.Draft(pki.Order{Request: j.request, Requester: requester(m.View, m.Key.ID, j.Caller.Principal), Profile: profile,
		Serial: o.draw(), Now: now, TTL: j.TTL})
	if err != nil {
		return nil, refuseDraft(j.Issuer, err)
	}
	d := j.draft
	j.item = command.IssueItem{Serial: d.Serial, Issuer: m.Key.ID, Version: m.Version.Number, KID: m.Instance.KID, Profile: profile.Name,
		ProfileHash: profile.Hash[:], TBSHash: d.TBSHash[:], SPKIHash: d.SPKIHash[:], Subject: d.Subject, DNS: d.Names.DNS, IPs: d.Names.IPs,
		URIs: d.Names.URIs, Emails: d.Names.Emails, NotBefore: d.NotBefore, NotAfter: d.NotAfter, DeadlineAt: now.Add(intentLife()),
		Requester: j.Caller.Principal, TokenID: j.Caller.TokenID, RequestID: j.RequestID, RequestDigest: j.digest,
		Replaces: j.Replaces, ByCertificate: j.byCertificate}
	return d.TBS, nil
}

// requester is whom the profile's rules are about, with the roles it has on the issuer
// now.
func requester(v *state.View, issuer lifecycle.KeyID, name string) pki.Requester {
	r := pki.Requester{Name: name}
	p := v.Principal(name)
	if p == nil || p.RevokedAt != 0 {
		return r
	}
	for _, g := range p.Grants {
		if g.Matches(issuer) {
			r.Roles = append(r.Roles, g.Role)
		}
	}
	return r
}

// Profile finds a profile that was set, or a built-in one.
func Profile(v *state.View, name string) (*pki.Profile, error) {
	if p := v.Profile(name); p != nil {
		return pki.NewProfile(p.Name, p.Version, p.ProfileTerms), nil
	}
	if p := pki.Builtin(name); p != nil && name != lifecycle.ProfileOCSP {
		return p, nil
	}
	return nil, refuse(string(state.ProfileNotFound), "chancery profile list", "there is no profile %q", name)
}

func refuseDraft(issuer string, err error) error {
	hint := "chancery issuer show " + issuer
	if errors.Is(err, pki.ErrName) {
		hint = "chancery profile list"
	}
	return refuse("certificate_refused", hint, "%v: nothing was signed", err)
}

func (o *Office) announceOne(ctx context.Context, it *command.IssueItem) error {
	g, err := o.announcing.Put(ctx, *it)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return notAnnounced(errors.New("the log did not answer in time"))
	case err != nil:
		return err
	case g.Code != "":
		return refuse(string(g.Code), "chancery issuer show "+string(it.Issuer), "the log refuses the certificate: %s: nothing was signed", g.Detail)
	}
	return nil
}

// enter records the signed certificate.
func (o *Office) enter(ctx context.Context, j *job, sig []byte) (uint64, error) {
	der, err := j.draft.Assemble(sig)
	if err != nil {
		return 0, err
	}
	r, err := o.recording.Put(ctx, command.IssuedItem{Serial: j.draft.Serial, DER: der})
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return 0, notRecorded("the log did not answer in time")
	case err != nil:
		return 0, err
	case r.Code != "":
		return 0, refuse(string(r.Code), "chancery cert show "+j.draft.Serial.String(), "the log refuses the certificate: %s: nothing was given out", r.Detail)
	}
	j.der = der
	fault.Reached(fault.CertRecorded)
	return r.index, nil
}

// replay finds the certificate of an earlier request with the same id.
func (o *Office) replay(order *Order, digest [32]byte) (*Issued, error) {
	v := o.Ledger.View()
	serial, before, ok, err := v.RequestedCertificate(order.Caller.Principal, order.RequestID)
	if err != nil || !ok {
		return nil, err
	}
	if !bytes.Equal(before, digest[:]) {
		return nil, refuse(string(state.RequestIDReused), "use a new request id", "request id %s was used for another certificate (digest %s)", order.RequestID, hex.EncodeToString(before[:4]))
	}
	if c, err := v.Certificate(serial); err != nil || c != nil && c.Revocation != nil && c.Revocation.Unrecorded {
		return nil, err // it was never given out: another one may be made
	}
	done, err := Find(v, serial)
	if err != nil {
		return nil, err
	}
	if done == nil {
		return nil, refuse("not_recorded", "wait, or ask again with a new request id: whatever was signed is revoked by then",
			"certificate %s was announced for this request and is not recorded yet", serial)
	}
	done.Replayed = true
	return done, nil
}

// Find finds an issued certificate with its chain, nil when there is none or it is not
// recorded. One that is revoked is refused: nobody is to be given it.
func Find(v *state.View, serial lifecycle.Serial) (*Issued, error) {
	c, err := v.Certificate(serial)
	if err != nil || c == nil || c.State == lifecycle.CertIntent {
		return nil, err
	}
	if c.Revocation != nil {
		return nil, refuse(string(state.CertificateRevoked), "ask again with a new request id", "certificate %s was revoked at %s (%s)", serial, c.Revocation.At, c.Revocation.Reason)
	}
	der, err := v.CertificateDER(serial)
	if err != nil {
		return nil, err
	}
	done := &Issued{Serial: serial, DER: der, Profile: c.Profile, Node: c.Node, Index: c.Index, Position: v.Position()}
	if row := v.CACertByKID(c.IssuerKID); row != nil {
		done.Chain = Chain(v, row)
	}
	return done, nil
}
