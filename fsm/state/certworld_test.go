package state_test

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// pki is a world with a root on node alpha and an issuing CA, corp, with an instance and
// a CA certificate on each node. web-01 and web-02 may issue.
type pki struct {
	*world
	drawn byte
}

const (
	root lifecycle.KeyID = "root"
	corp lifecycle.KeyID = "corp"
)

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{world: newWorld(t)}
	p.ok(&command.RaiseFormat{Format: command.MaxFormat})
	p.ok(newIssuer(root, lifecycle.RootIssuer, "", p.nodes[0]))
	p.use(root, 1, p.nodes[0])
	p.ok(p.rootCert(lifecycle.Day * 3650))
	p.ok(newIssuer(corp, lifecycle.IssuingIssuer, root, p.nodes...))
	p.use(corp, 1, p.nodes...)
	for i := range p.nodes {
		p.ok(p.bindCA(1, i))
	}
	for _, name := range []string{"web-01", "web-02"} {
		p.ok(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: string(corp)}}}})
	}
	return p
}

func newIssuer(name lifecycle.KeyID, kind lifecycle.IssuerKind, parent lifecycle.KeyID, nodes ...lifecycle.NodeID) *command.CreateIssuer {
	c := &command.CreateIssuer{Of: kind, Parent: parent, Terms: lifecycle.DefaultIssuerTerms(kind, string(name)+" CA"),
		Key: command.CreateKey{Name: name, Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Distributed,
			Owner: "platform", Reason: "certificates", Policy: lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256), Instances: intents(name, 1, nodes...)}}
	if kind == lifecycle.RootIssuer {
		c.Key.Custody, c.Key.Node = lifecycle.Singleton, nodes[0]
	}
	return c
}

// use brings a version of an issuer's key to where it signs.
func (p *pki) use(key lifecycle.KeyID, n uint64, nodes ...lifecycle.NodeID) {
	p.Helper()
	for _, node := range nodes {
		b := bind(key, n, node)
		b.SPKI = der(0x30, b.SPKI)
		p.ok(b)
	}
	p.ok(&command.PublishVersion{Key: key, Version: n})
	p.ok(&command.ActivateVersion{Key: key, Version: n})
}

func (p *pki) kid(key lifecycle.KeyID, n uint64, node int) string {
	p.Helper()
	i := p.l.View().Instance(key, n, p.nodes[node])
	if i == nil {
		p.Fatalf("node %d has no instance of %s/%d", node, key, n)
		return ""
	}
	return i.KID
}

func (p *pki) now() lifecycle.Instant {
	return lifecycle.Instant(p.l.Clock().Now().Truncate(time.Second).UnixMilli())
}

func (p *pki) serial() lifecycle.Serial {
	p.drawn++
	return lifecycle.NewSerial(p.now(), [13]byte{12: p.drawn})
}

// der keeps to short lengths where DER asks for them.
func der(tag byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
}

func name(cn string) []byte { return der(0x30, der(0x0c, []byte(cn))) }

// form is what a certificate of these tests is made of: it has the shape of one.
type form struct {
	serial    lifecycle.Serial
	issuer    string
	subject   string
	spki      []byte
	from, to  lifecycle.Instant
	extension string
}

func (f form) tbs() []byte {
	at := func(i lifecycle.Instant) []byte {
		return der(0x18, []byte(time.UnixMilli(int64(i)).UTC().Format("20060102150405Z")))
	}
	return der(0x30, der(0xa0, der(2, []byte{2})), der(2, f.serial[:]), der(0x30), name(f.issuer), der(0x30, at(f.from), at(f.to)), name(f.subject), f.spki, der(0xa3, []byte(f.extension)))
}

func (f form) cert() []byte { return der(0x30, f.tbs(), der(0x30), der(3, []byte("\x00signature"))) }

func (p *pki) rootCert(life lifecycle.Milliseconds) *command.BindCACert {
	f := form{serial: p.serial(), issuer: "root CA", subject: "root CA", spki: p.l.View().Instance(root, 1, p.nodes[0]).SPKI, from: p.now(), to: p.now().Add(life)}
	return &command.BindCACert{Issuer: root, Version: 1, Node: p.nodes[0], DER: f.cert(), Subject: "root CA"}
}

// caForm is the CA certificate of a node's instance of corp.
func (p *pki) caForm(n uint64, node int) form {
	i := p.l.View().Instance(corp, n, p.nodes[node])
	return form{serial: p.serial(), issuer: "root CA", subject: "corp CA " + lifecycle.ShortKID(i.KID), spki: i.SPKI, from: p.now(), to: p.now().Add(365 * lifecycle.Day)}
}

// bindCA has the root issue a CA certificate and binds it.
func (p *pki) bindCA(n uint64, node int) *command.BindCACert {
	p.Helper()
	f := p.caForm(n, node)
	it := p.item(f, "node:"+string(p.nodes[node]))
	it.Issuer, it.KID, it.Profile = root, p.kid(root, 1, 0), lifecycle.ProfileCA
	p.each(p.ok(&command.IssueIntents{Node: p.nodes[0], Items: []command.IssueItem{it}}), "")
	p.each(p.ok(&command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}}}), "")
	return &command.BindCACert{Issuer: corp, Version: n, Node: p.nodes[node], DER: f.cert(), Subject: f.subject}
}

// leafForm is a certificate of corp's instance on node alpha.
func (p *pki) leafForm(name string) form {
	s := p.serial()
	return form{serial: s, issuer: "corp CA " + lifecycle.ShortKID(p.kid(corp, 1, 0)), subject: name, spki: der(0x30, []byte("key of "+s.String())),
		from: p.now(), to: p.now().Add(30 * lifecycle.Day)}
}

func hash32(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// item announces a form from node alpha's instance of corp.
func (p *pki) item(f form, requester string) command.IssueItem {
	return command.IssueItem{Serial: f.serial, Issuer: corp, Version: 1, KID: p.kid(corp, 1, 0), Profile: "server", ProfileHash: hash32([]byte("server")),
		TBSHash: hash32(f.tbs()), SPKIHash: hash32(f.spki), Subject: f.subject, DNS: []string{f.subject, "www." + f.subject}, NotBefore: f.from, NotAfter: f.to,
		DeadlineAt: p.now().Add(lifecycle.Minute), Requester: requester}
}

// announce makes an intent that must be accepted.
func (p *pki) announce(it command.IssueItem) {
	p.Helper()
	p.each(p.ok(&command.IssueIntents{Node: p.nodes[0], Items: []command.IssueItem{it}}), "")
}

// record ends it.
func (p *pki) record(f form) state.Outcome {
	p.Helper()
	return p.ok(&command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}}})
}

// issued is a certificate for a name.
func (p *pki) issued(name, requester string) form {
	p.Helper()
	f := p.leafForm(name)
	p.announce(p.item(f, requester))
	p.each(p.record(f), "")
	return f
}

// each asserts what became of each item.
func (p *pki) each(o state.Outcome, want ...state.Code) {
	p.Helper()
	var got []state.Code
	for _, g := range o.Groups {
		if (g.Code == "") != (g.Detail == "") {
			p.Errorf("outcome %+v: a code and no word, or a word and no code", g)
		}
		got = append(got, g.Code)
	}
	if !slices.Equal(got, want) {
		p.Fatalf("outcomes %+v, want %q", o.Groups, want)
	}
}

func (p *pki) cert(s lifecycle.Serial) *lifecycle.Certificate {
	p.Helper()
	c, err := p.l.View().Certificate(s)
	if err != nil || c == nil {
		p.Fatalf("certificate %s: %v, %v", s, c, err)
	}
	return c
}

// is asserts the state of a certificate and whether it is on the CRL.
func (p *pki) is(s lifecycle.Serial, want lifecycle.CertState, onCRL bool) {
	p.Helper()
	c := p.cert(s)
	_, listed := p.crl(c.IssuerKID)[s]
	if c.State != want || listed != onCRL || (c.Revocation != nil) != onCRL {
		p.Errorf("certificate %s is %s, on the CRL: %t, %+v; want %s and %t", s, c.State, listed, c.Revocation, want, onCRL)
	}
}

// crl is what the CRL of an instance would hold.
func (p *pki) crl(kid string) map[lifecycle.Serial]string {
	p.Helper()
	out := map[lifecycle.Serial]string{}
	var last lifecycle.Serial
	index, err := p.l.View().EachRevoked(kid, func(e state.RevokedEntry) bool {
		if len(out) > 0 && string(last[:]) >= string(e.Serial[:]) {
			p.Errorf("%s comes after %s on the CRL", e.Serial, last)
		}
		last, out[e.Serial] = e.Serial, string(e.DER)
		return true
	})
	if err != nil || index != p.l.View().Position().Index {
		p.Fatalf("CRL of entry %d, %v", index, err)
	}
	if n := p.l.View().CertTally(kid).OnCRL; n != uint64(len(out)) {
		p.Errorf("%d entries on the CRL, counted are %d", len(out), n)
	}
	return out
}

func revokeCert(reason lifecycle.Reason, serials ...lifecycle.Serial) *command.RevokeCertificates {
	c := &command.RevokeCertificates{}
	slices.SortFunc(serials, func(a, b lifecycle.Serial) int { return slices.Compare(a[:], b[:]) })
	for _, s := range serials {
		c.Items = append(c.Items, command.RevokeItem{Serial: s, Reason: reason})
	}
	return c
}

// system applies a command as the cluster itself would.
func (p *pki) system(body command.Body) state.Outcome {
	p.Helper()
	cmd := p.l.Command(body)
	cmd.Header.Actor = "system"
	o, err := p.l.Propose(p.Context(), cmd)
	if err != nil {
		p.Fatal(err)
	}
	return o
}

func (p *pki) crlCommand(number uint64, tbs string) *command.AllocateCRL {
	return &command.AllocateCRL{Node: p.nodes[0], KID: p.kid(corp, 1, 0), Number: number, TBSHash: hash32([]byte(tbs)), ThisUpdate: p.now(),
		NextUpdate: p.now().Add(72 * lifecycle.Hour), Entries: 1, AtIndex: p.l.View().Position().Index}
}

func otherKID(text string) string { return base64.RawURLEncoding.EncodeToString(hash32([]byte(text))) }

// leavesOf are the leaves of the newest entry that left any.
func (p *pki) leavesOf(index uint64) (out []*state.Leaf) {
	p.Helper()
	first, err := p.l.View().LeafAfter(index - 1)
	if err != nil {
		p.Fatal(err)
	}
	if err := p.l.View().Leaves(first, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Index == index {
			out = append(out, l)
		}
		return l.Index == index
	}); err != nil {
		p.Fatal(err)
	}
	return out
}
