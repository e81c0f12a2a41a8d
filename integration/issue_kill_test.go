package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// killStep is a marked point at which a node dies: the one that signs, or the leader that
// writes what it says into the log.
type killStep struct {
	point string
	leads bool // the leader dies, and another node signs
}

// The steps of an issuance, of a revocation and of the CRL after it, in the order in
// which they are come by.
var (
	issueSteps = []killStep{{fault.SignAdmitted, false}, {fault.IntentAsked, true}, {fault.IntentAccepted, true}, {fault.SignAnnounced, false},
		{fault.SignSigned, false}, {fault.RecordAsked, true}, {fault.RecordAccepted, true}, {fault.CertRecorded, false}}
	revokeSteps = []killStep{{fault.WritePlanned, true}, {fault.WriteAccepted, true}, {fault.ApplyBatch, true}, {fault.NumberAsked, true},
		{fault.NumberAccepted, true}, {fault.SignAnnounced, false}, {fault.SignSigned, false}, {fault.CRLKept, false}}

	// Each takes ten seconds and more; `make kills` takes them all.
	someIssueSteps  = []string{fault.SignSigned}
	someRevokeSteps = []string{fault.NumberAccepted}
)

// TestIssueKilled kills a node at the steps of issuing and revoking. Afterwards every
// certificate that somebody holds is on record, what was never handed out is revoked, no
// number stands for two CRLs, and what was acknowledged as revoked is on all of them.
func TestIssueKilled(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	c := startBreakable(t, random.Uint64(), 3, 0)
	p := c.foundPKI()
	for _, s := range selected(t, issueSteps, someIssueSteps) {
		p.issueThroughDeath(s)
	}
	for _, s := range selected(t, revokeSteps, someRevokeSteps) {
		p.revokeThroughDeath(s)
	}
	p.judge()
	checkAgreement(t, c)
}

func selected(t *testing.T, all []killStep, some []string) (out []killStep) {
	t.Helper()
	for _, s := range all {
		if full() || slices.Contains(some, s.point) {
			out = append(out, s)
		} else {
			t.Logf("%s: left to make kills", s.point)
		}
	}
	return out
}

// pkiLab is an issuer on a laboratory, with all that its callers were given and told.
type pkiLab struct {
	*lab
	lists   *listWatch
	held    []*wire.IssuedCertificate
	revoked map[string]revokedCert // acknowledged, by serial
	names   int
}

type revokedCert struct {
	kid string
	at  time.Time // when it was acknowledged
}

// foundPKI makes a root and an issuer, and waits until every node issues and answers.
func (c *lab) foundPKI() *pkiLab {
	c.t.Helper()
	for _, n := range c.nodes {
		n.order(fault.Command{Seed: fault.ShortIntents, On: true})
	}
	for _, is := range []wire.CreateIssuer{
		{Name: "corp-root", Kind: lifecycle.RootIssuer, Alg: string(lifecycle.ES256), Node: c.nodes[0].name, Owner: "lab@example.com", Reason: "integration test"},
		{Name: "corp", Kind: lifecycle.IssuingIssuer, Parent: "corp-root", Alg: string(lifecycle.ES256), Owner: "lab@example.com", Reason: "integration test"},
	} {
		op, err := c.admin.CreateIssuer(ctx(c.t), is, client.Wait(wire.Activated, 20*time.Second))
		if err != nil || !op.Has(wire.Activated) {
			c.t.Fatalf("make the issuer %s: %+v, %v", is.Name, op, err)
		}
	}
	p := &pkiLab{lab: c, revoked: map[string]revokedCert{}}
	for _, n := range c.nodes {
		p.waitIssues(n)
	}
	eventually(c.t, 40*time.Second, "every node has a CRL and answers OCSP for every instance", func() string {
		is, err := c.admin.Issuer(ctx(c.t), "corp", client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		for _, i := range is.Instances {
			if i.CRLNumber == 0 || i.Responders < len(c.nodes) {
				return fmt.Sprintf("%s: CRL number %d, %d responders", i.Node, i.CRLNumber, i.Responders)
			}
		}
		return ""
	})
	p.lists = c.watchLists("corp", "corp-root")
	return p
}

// waitIssues waits until a node issues a certificate.
func (p *pkiLab) waitIssues(n *node) {
	p.t.Helper()
	eventually(p.t, 40*time.Second, n.name+" issues", func() string {
		got, err := p.issue(n, client.NewRequestID(), p.request())
		if err != nil {
			return err.Error()
		}
		p.held = append(p.held, got)
		return ""
	})
}

// request is one for a new key and a new name.
func (p *pkiLab) request() wire.IssueCertificate {
	p.t.Helper()
	p.names++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	name := fmt.Sprintf("host-%d.corp.test", p.names)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		p.t.Fatal(err)
	}
	return wire.IssueCertificate{Profile: "server", CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), TTL: 7 * lifecycle.Day}
}

// issue asks one node, once.
func (p *pkiLab) issue(n *node, id string, r wire.IssueCertificate) (*wire.IssuedCertificate, error) {
	k := p.clientWith(func(cfg *client.Config) { cfg.Timeout, cfg.AttemptTimeout = 3*time.Second, 3*time.Second }, n)
	defer k.Close()
	return k.IssueCertificate(ctx(p.t), "corp", r, client.WithRequestID(id))
}

// victim chooses who dies at a step, and who signs: never the leader, so that the two
// are told apart.
func (p *pkiLab) victim(s killStep) (dies, signs *node) {
	leader := p.leader()
	signs = p.others(leader)[0]
	if s.leads {
		return leader, signs
	}
	return signs, signs
}

// back starts a node that died, and waits until it signs again.
func (p *pkiLab) back(n *node) {
	p.t.Helper()
	n.kill()
	n.start(p.t)
	n.order(fault.Command{Seed: fault.ShortIntents, On: true})
	p.waitReady(n, "?for=sign")
}

// issuedTogether is how many are asked for at once, of two nodes, so that what they announce
// and record shares entries.
const issuedTogether = 6

// order is a request for a certificate, of whom, and what came of it.
type order struct {
	from *node
	id   string
	wire.IssueCertificate
	got *wire.IssuedCertificate
	err error
}

// issueThroughDeath asks for certificates while a node dies. Whoever asked repeats the
// request, and is given the one certificate of it, or hears that there will be none.
func (p *pkiLab) issueThroughDeath(s killStep) {
	p.t.Helper()
	dies, signs := p.victim(s)
	orders, from := make([]order, issuedTogether), p.others(p.leader())
	for i := range orders {
		orders[i] = order{from: from[i%len(from)], id: client.NewRequestID(), IssueCertificate: p.request()}
	}
	dies.at(s.point, fault.Kill, 0)
	var all sync.WaitGroup
	for i := range orders {
		all.Go(func() {
			orders[i].got, orders[i].err = p.issue(orders[i].from, orders[i].id, orders[i].IssueCertificate)
		})
	}
	all.Wait()
	p.dies(dies, s.point)
	p.back(dies)
	for i := range orders {
		p.repeat(s, &orders[i])
	}
	p.waitIssues(signs)
}

// repeat asks again after a node died.
func (p *pkiLab) repeat(s killStep, o *order) {
	p.t.Helper()
	again, refused := p.issue(o.from, o.id, o.IssueCertificate)
	if o.err == nil {
		p.held = append(p.held, o.got)
		eventually(p.t, 20*time.Second, "the certificate that was given out is given out again", func() string {
			if again, refused = p.issue(o.from, o.id, o.IssueCertificate); refused != nil {
				return refused.Error()
			}
			return ""
		})
	}
	if refused == nil {
		p.held = append(p.held, again)
	}
	p.t.Logf("killed at %s: %s said first %v, then %v", s.point, o.from.name, o.err, refused)
}

// revokedTogether is how many are revoked at once, so that some share an entry.
const revokedTogether = 4

// revokeThroughDeath revokes certificates of the node that signs while a node dies, each by
// a request of its own. The client repeats by itself; what it is told counts.
func (p *pkiLab) revokeThroughDeath(s killStep) {
	p.t.Helper()
	dies, signs := p.victim(s)
	for range revokedTogether {
		p.waitIssues(signs)
	}
	dies.at(s.point, fault.Kill, 0)
	k := p.patientClient(3 * time.Second)
	defer k.Close()
	var all sync.WaitGroup
	certs, said, at := p.held[len(p.held)-revokedTogether:], make([]error, revokedTogether), make([]time.Time, revokedTogether)
	for i, cert := range certs {
		all.Go(func() {
			op, err := k.RevokeCertificates(ctx(p.t), wire.RevokeCertificates{Issuer: "corp", Serials: []string{cert.Serial}, Reason: lifecycle.KeyCompromise}, client.Wait(wire.Committed, 0))
			if at[i] = time.Now(); err == nil && !op.Has(wire.Committed) {
				err = fmt.Errorf("answered %+v", op)
			}
			said[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(said...); err != nil {
		p.t.Fatalf("%s: revoke: %v", s.point, err)
	}
	for i, cert := range certs {
		p.revoked[cert.Serial] = revokedCert{cert.IssuerKID, at[i]}
	}
	p.dies(dies, s.point)
	p.back(dies)
	for _, cert := range certs {
		p.onAllLists(cert.Serial, cert.IssuerKID)
	}
	p.t.Logf("%s killed at %s: %d certificates are on the CRL of every node", dies.name, s.point, len(certs))
}

// onAllLists waits until every node serves a CRL that has the serial.
func (p *pkiLab) onAllLists(serial, kid string) {
	p.t.Helper()
	eventually(p.t, 30*time.Second, serial+" on the CRLs", func() string {
		for _, n := range p.nodes {
			list, err := p.lists.fetch(n, "corp", kid)
			if err != nil {
				return n.name + ": " + err.Error()
			}
			if !lists(list, serial) {
				return fmt.Sprintf("%s serves number %s without it", n.name, list.Number)
			}
		}
		return ""
	})
}

// judge looks at everything that was seen.
func (p *pkiLab) judge() {
	t := p.t
	t.Helper()
	eventually(t, 60*time.Second, "what was announced and never recorded is revoked", func() string {
		l, err := p.admin.Certificates(ctx(t), client.Query(wire.QueryIssuer, "corp"), client.Query(wire.QueryState, "announced"), client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		if len(l.Items) > 0 {
			return fmt.Sprintf("%d wait", len(l.Items))
		}
		return ""
	})
	given := map[string]string{}
	for _, cert := range p.held {
		if before, ok := given[cert.Serial]; ok && before != cert.PEM {
			t.Errorf("serial %s was given out twice, for different certificates", cert.Serial)
		}
		given[cert.Serial] = cert.PEM
	}
	for serial, pem := range given {
		for _, n := range p.nodes {
			row, err := p.admin.Certificate(ctx(t), serial, client.At(n.api), client.Consistency(wire.Linearizable))
			_, gone := p.revoked[serial]
			switch {
			case err != nil:
				t.Errorf("%s has no record of %s: %v", n.name, serial, err)
			case row.PEM != pem:
				t.Errorf("%s has another certificate on record as %s", n.name, serial)
			case gone != (row.Revocation != nil):
				t.Errorf("%s says of %s: %s", n.name, serial, row.Status)
			}
		}
	}
	p.unhanded(given)
	for serial, r := range p.revoked {
		p.onAllLists(serial, r.kid)
		for _, n := range p.nodes {
			if status := p.ocspStatus(n, given[serial], serial); status != "revoked" {
				t.Errorf("OCSP of %s says of %s: %s", n.name, serial, status)
			}
		}
	}
	p.lists.check(t, p.revoked)
}

// unhanded wants each certificate that nobody holds to be one that was recorded and can be
// had by repeating its request, or revoked as one that may have been signed.
func (p *pkiLab) unhanded(given map[string]string) {
	t := p.t
	t.Helper()
	lost := 0
	for cursor := ""; ; {
		l, err := p.admin.Certificates(ctx(t), client.Query(wire.QueryIssuer, "corp"), client.Page(100, cursor), client.Consistency(wire.Linearizable))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range l.Items {
			if _, ok := given[row.Serial]; ok || row.Profile == lifecycle.ProfileOCSP {
				continue
			}
			lost++
			if row.Issued.At == 0 && (row.Revocation == nil || !row.Revocation.Unrecorded) {
				t.Errorf("%s was announced, never recorded, and is %s", row.Serial, row.Status)
			}
		}
		if cursor = string(l.Next); cursor == "" {
			break
		}
	}
	t.Logf("%d certificates are held, %d were not handed out", len(given), lost)
}
