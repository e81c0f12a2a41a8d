package api

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func issuerRoutes() []*route {
	return []*route{
		changing("issuer.create", wire.PathIssuers, "Make an issuer and its key; its CA certificates follow", (*call).createIssuer).waits(command.KindCreateKey).governed(),
		reading[wire.List[wire.Issuer]]("issuer.list", wire.PathIssuers, "List issuers in name order", (*call).listIssuers, paged...),
		reading[wire.Issuer]("issuer.show", wire.PathIssuer, "An issuer with the CA certificates of its instances", (*call).showIssuer),
		changing("issuer.set", wire.PathIssuerTerms, "Change what the next CA certificates, CRLs and OCSP answers are made by", (*call).setIssuer).governed(),
		changing("issuer.csr", wire.PathIssuerRequest, "The certificate request of this node's instance of an external issuer", (*call).requestCACert).as(sign, wire.MaxSignBytes).answers(of[wire.CACertRequest]()),
		changing("issuer.import", wire.PathImportCACert, "Bring the CA certificate of an external issuer's instance", (*call).importCACert).governed(),
		reading[wire.List[wire.Certificate]]("issuer.affected", wire.PathAffected, "Certificates that one node's instance signed and that have not ended", (*call).affected, with(paged, wire.QueryNode)...),
		reading[wire.List[wire.Profile]]("profile.list", wire.PathProfiles, "Profiles in name order, built-in ones included, all of them unless a limit is given", (*call).listProfiles, paged...),
		reading[wire.Profile]("profile.show", wire.PathProfile, "A profile", (*call).showProfile),
		changing("profile.set", wire.PathProfile, "Add a profile, or replace one", (*call).setProfile).governed(),
		changing("profile.put", wire.PathProfile, "The same: a profile takes the place of the one there is", (*call).setProfile).by("PUT").governed(),
		changing("profile.drop", wire.PathDropProfile, "End a profile; a built-in one of its name counts again", (*call).dropProfile).governed(),
	}
}

func (c *call) createIssuer(in *wire.CreateIssuer) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	terms := in.Terms.Over(lifecycle.DefaultIssuerTerms(in.Kind, in.Name))
	spec := authority.IssuerSpec{Kind: string(in.Kind), Parent: in.Parent, Terms: &terms,
		Key: authority.KeySpec{Name: in.Name, Alg: in.Alg, Bits: in.Bits, Node: in.Node, Owner: in.Owner, Reason: in.Reason}}
	r, err := c.Service.CreateIssuer(c.r.Context(), req, spec)
	a := asked{verb: "issuer create", kind: command.KindCreateKey, key: in.Name}
	if in.Kind == lifecycle.RootIssuer {
		a.holder = in.Node
	}
	return c.operation(a, r, err)
}

func (c *call) setIssuer(in *wire.IssuerTerms) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	is, err := c.issuer()
	if err != nil {
		return nil, err
	}
	terms := in.Over(is.IssuerTerms)
	r, err := c.Service.SetIssuer(c.r.Context(), req, c.name(), terms)
	return c.operation(asked{verb: "issuer set", kind: command.KindSetIssuer, key: c.name(), body: &command.SetIssuer{Issuer: is.Name, Terms: terms}, final: true}, r, err)
}

func (c *call) importCACert(in *wire.ImportCACert) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	ders, err := certificatesOf(in.Certificate)
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	r, err := c.Service.ImportCACert(c.r.Context(), req, c.name(), ders)
	answer, err := c.operation(asked{verb: "issuer import", kind: command.KindBindCACert, key: c.name(), body: r.Change, final: true}, r.Result, err)
	if op, ok := answer.(*wire.Operation); ok {
		op.Warnings = r.Notes
	}
	return answer, err
}

// certificatesOf reads certificates in PEM; text around them is passed by, as openssl does.
func certificatesOf(text string) (ders [][]byte, err error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, wire.Errorf(wire.Invalid, "certificate: it holds a %.40s: send the CA certificate as PEM", block.Type)
		}
		ders = append(ders, block.Bytes)
	}
	switch n := len(ders); {
	case n == 0:
		return nil, wire.Errorf(wire.Invalid, "certificate: send the CA certificate as PEM")
	case n > 1+command.MaxCertsAbove:
		return nil, wire.Errorf(wire.Invalid, "certificate: %d of them: send the CA certificate and at most %d above it", n, command.MaxCertsAbove)
	}
	return ders, nil
}

func (c *call) requestCACert(in *wire.RequestCACert) (any, error) {
	if err := c.signRequestID(); err != nil {
		return nil, err
	}
	office, err := c.desk()
	if err != nil {
		return nil, err
	}
	a, err := office.Apply(c.r.Context(), issuing.Enquiry{Caller: c.caller, RequestID: c.requestID, ReceivedAt: c.receivedAt, Issuer: c.name(), Version: in.Version})
	if err != nil {
		return nil, err
	}
	if err := c.within(a.Deadline); err != nil {
		return nil, err
	}
	v := c.Service.View()
	w := wire.CACertRequest{Issuer: c.name(), Version: a.Version, Node: nodeName(v, a.Node), KID: a.KID, Subject: "CN=" + a.Subject, Without: []string{}, RequestID: c.requestID,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: a.DER})), Position: transport.Position(a.Position)}
	for _, i := range v.Instances(lifecycle.KeyID(c.name()), a.Version) {
		if v.CACert(i.Key, i.Version, i.Node) == nil {
			w.Without = append(w.Without, nodeName(v, i.Node))
		}
	}
	return w, nil
}

// issuer is the one that the path names.
func (c *call) issuer() (*lifecycle.Issuer, error) {
	is := c.snap.Issuer(lifecycle.KeyID(c.name()))
	if is == nil {
		return nil, wire.Errorf(wire.Code(state.IssuerNotFound), "there is no issuer %.80q", c.name()).WithHint("chancery issuer list")
	}
	return is, nil
}

func (c *call) listIssuers() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	rows, next, err := page(c, c.snap.Issuers(), func(i *lifecycle.Issuer) string { return string(i.Name) })
	if err != nil {
		return nil, err
	}
	items := []wire.Issuer{}
	for _, is := range rows {
		items = append(items, c.issuerView(is))
	}
	return listOf(c, items, next), nil
}

func (c *call) showIssuer() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	is, err := c.issuer()
	if err != nil {
		return nil, err
	}
	w := c.issuerView(is)
	c.addRoots(&w, is)
	return w, nil
}

// addRoots fills in what verifiers of the issuer load: the roots above those of its CA
// certificates that are believed. The root of an external issuer is here if it was
// brought along; else it is said whose it is.
func (c *call) addRoots(w *wire.Issuer, is *lifecycle.Issuer) {
	seen := map[string]bool{}
	add := func(to *string, text string) {
		if !seen[text] {
			seen[text] = true
			*to += text
		}
	}
	for _, row := range c.snap.CACerts(is.Name) {
		chain := issuing.Chain(c.snap.View, row)
		if slices.ContainsFunc(chain, func(row *lifecycle.CACert) bool { return !publish.Believed(c.snap.View, row, c.now()) }) {
			continue
		}
		below, root := issuing.Path(chain)
		if root != nil {
			add(&w.RootsPEM, pemOf(root))
		} else if top, err := x509.ParseCertificate(below[len(below)-1]); err == nil {
			add(&w.RootElsewhere, top.Issuer.String())
		}
	}
}

func (c *call) issuerView(is *lifecycle.Issuer) wire.Issuer {
	v := c.snap.View
	w := wire.Issuer{Name: string(is.Name), Kind: is.Kind, Parent: string(is.Parent), Terms: is.IssuerTerms, Created: origin(is.Created),
		Instances: []wire.IssuerInstance{}, Position: transport.Position(c.snap.Position())}
	if k := v.Key(is.Name); k != nil {
		w.Alg, w.Owner, w.Reason = string(k.Alg), k.Owner, k.Reason
	}
	for _, ver := range v.Versions(is.Name) {
		for _, i := range v.Instances(is.Name, ver.Number) {
			w.Instances = append(w.Instances, issuerInstance(v, ver, i, c.publicURL(v)))
		}
	}
	return w
}

func issuerInstance(v *state.View, ver *lifecycle.Version, i *lifecycle.Instance, base string) wire.IssuerInstance {
	w := wire.IssuerInstance{Version: ver.Number, State: ver.State.String(), Node: nodeName(v, i.Node), KID: i.KID}
	row := v.CACert(i.Key, ver.Number, i.Node)
	if row == nil {
		return w
	}
	w.Subject, w.Serial, w.NotBefore, w.NotAfter = "CN="+row.Subject, hex.EncodeToString(row.Serial), wire.Time(row.NotBefore), wire.Time(row.NotAfter)
	w.Revocation, w.PEM, w.Responders = certRevocation(row.Revocation), pemOf(row.DER), len(v.Responders(row.KID))
	t := v.CertTally(row.KID)
	w.Issued, w.Revoked, w.OnCRL = t.Issued, t.Revoked, t.OnCRL
	if list := v.CRLState(row.KID, 0); list != nil {
		w.CRLURL = base + crl.Path(i.Key, row.KID, 0)
		w.CRLNumber, w.CRLNext = list.Number, wire.Time(list.NextUpdate)
	}
	return w
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (c *call) listProfiles() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	items := []wire.Profile{}
	set := map[string]bool{}
	for _, p := range c.snap.Profiles() {
		set[p.Name] = true
		items = append(items, c.profileView(pki.NewProfile(p.Name, p.Version, p.ProfileTerms)))
	}
	for _, name := range pki.Builtins() {
		if !set[name] {
			items = append(items, c.profileView(pki.Builtin(name)))
		}
	}
	slices.SortFunc(items, func(a, b wire.Profile) int { return strings.Compare(a.Name, b.Name) })
	items, next, err := pageOrAll(c, items, func(p wire.Profile) string { return p.Name })
	return listOf(c, items, next), err
}

func (c *call) showProfile() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	p, err := issuing.Profile(c.snap.View, c.name())
	if err != nil {
		return nil, err
	}
	return c.profileView(p), nil
}

func (c *call) profileView(p *pki.Profile) wire.Profile {
	return wire.Profile{Name: p.Name, Version: p.Version, Builtin: p.Version == 0, Hash: hex.EncodeToString(p.Hash[:]), Terms: p.Terms,
		Position: transport.Position(c.snap.Position())}
}

func (c *call) setProfile(in *wire.SetProfile) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	r, err := c.Service.SetProfile(c.r.Context(), req, c.name(), in.Terms)
	return c.operation(asked{verb: "profile set", kind: command.KindSetProfile, subject: c.name(),
		body: &command.SetProfile{Name: c.name(), Terms: in.Terms}, final: true}, r, err)
}

func (c *call) dropProfile(in *wire.DropProfile) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	r, err := c.Service.DropProfile(c.r.Context(), req, c.name())
	return c.operation(asked{verb: "profile drop", kind: command.KindDropProfile, subject: c.name(),
		body: &command.DropProfile{Name: c.name()}, final: true}, r, err)
}
