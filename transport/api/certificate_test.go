package api

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// certify enters certificates of the root for a day, as if it had issued them.
func (n *node) certify(ca *lifecycle.CACert, count int) (serials []string) {
	n.t.Helper()
	return n.certifyFor(ca, count, lifecycle.Day)
}

func (n *node) certifyFor(ca *lifecycle.CACert, count int, life lifecycle.Milliseconds) (serials []string) {
	n.t.Helper()
	n.ledger.Must(n.t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "web", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: string(ca.Issuer)}}}})
	now := n.clock.At()
	from := now - now%1000
	hash := func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	for i := range count {
		serial, spki := lifecycle.NewSerial(now, [13]byte{12: byte(i + 1)}), []byte{0x30, 1, byte(i)}
		der, tbs := fsmtest.Certificate(serial, spki, from, from.Add(life))
		n.ledger.Must(n.t, &command.IssueIntents{Node: ca.Node, Items: []command.IssueItem{{Serial: serial, Issuer: ca.Issuer, Version: ca.Version, KID: ca.KID, Profile: "server",
			ProfileHash: hash([]byte("server")), TBSHash: hash(tbs), SPKIHash: hash(spki), NotBefore: from, NotAfter: from.Add(life),
			DeadlineAt: now.Add(lifecycle.Minute), Requester: "web"}}})
		n.ledger.Must(n.t, &command.RecordIssued{Node: ca.Node, Items: []command.IssuedItem{{Serial: serial, DER: der}}})
		serials = append(serials, serial.String())
	}
	return serials
}

// TestCertificatesOfSerials: a list by serials has what there is, in the order asked.
func TestCertificatesOfSerials(t *testing.T) {
	n := start(t)
	ca, _ := n.rootOn("node2")
	serials := n.certify(ca, 3)
	query := func(q string) string { return wire.PathCertificates + "?" + q }
	l := get[wire.List[wire.Certificate]](t, n.ask("admin", "GET", query(wire.QuerySerials+"="+serials[2]+",01"+strings.Repeat("f", 38)+",0x"+strings.ToUpper(serials[0])), nil))
	if len(l.Items) != 2 || l.Items[0].Serial != serials[2] || l.Items[1].Serial != serials[0] || l.Items[1].Status != wire.Good || l.Next != "" {
		t.Errorf("found %+v", l)
	}
	for name, q := range map[string]string{"nothing": "", "no serial": "hello", "too many": strings.Repeat(serials[0]+",", wire.MaxSerials) + serials[1], "a filter too": serials[0] + "&" + wire.QueryIssuer + "=root"} {
		t.Run(name, func(t *testing.T) {
			refused(t, n.ask("admin", "GET", query(wire.QuerySerials+"="+q), nil), wire.Invalid)
		})
	}
	refused(t, n.ask("nobody", "GET", query(wire.QuerySerials+"="+serials[0]), nil), wire.Denied)
}

// TestCertificatesOfStatus: a list by status has what calls itself so.
func TestCertificatesOfStatus(t *testing.T) {
	n := start(t)
	ca, _ := n.rootOn("node2")
	old := n.certifyFor(ca, 3, lifecycle.Hour)
	n.ledger.Must(t, &command.RevokeCertificates{Items: []command.RevokeItem{{Serial: serialOf(t, old[1]), Reason: lifecycle.Superseded}}})
	n.ledger.Must(t, &command.RevokeCertificates{Items: []command.RevokeItem{{Serial: serialOf(t, old[2]), Reason: lifecycle.CertificateHold}}})
	found := func(status string, want ...string) {
		t.Helper()
		for _, filter := range []string{"", "&" + wire.QueryIssuer + "=root", "&" + wire.QueryActor + "=web"} {
			l := get[wire.List[wire.Certificate]](t, n.ask("admin", "GET", wire.PathCertificates+"?"+wire.QueryState+"="+status+filter, nil))
			var got []string
			for _, c := range l.Items {
				if c.Requester == "web" {
					got = append(got, c.Serial)
				}
				if c.Status != status {
					t.Errorf("%s%s: %s is %s", status, filter, c.Serial, c.Status)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s%s: %v, want %v", status, filter, got, want)
			}
		}
	}
	found("good", old[0])
	found("on_hold", old[2])
	found("expired")
	n.ledger.Pass(t, 2*time.Hour)
	found("good")
	found("on_hold")
	found("revoked", old[1])
	found("expired", old[0], old[2])
	refused(t, n.ask("admin", "GET", wire.PathCertificates+"?"+wire.QueryState+"=hello", nil), wire.Invalid)
}

// TestRevokeOneByPath: whose it is need not be said.
func TestRevokeOneByPath(t *testing.T) {
	n := start(t)
	ca, _ := n.rootOn("node2")
	serials := n.certify(ca, 1)
	path := func(serial string) string { return wire.Path(wire.PathRevokeCertificate, serial) }
	body := wire.RevokeCertificate{Reason: lifecycle.KeyCompromise, Comment: "disk sold"}
	refused(t, n.ask("nobody", "POST", path(serials[0]), body), wire.Denied)
	refused(t, n.ask("admin", "POST", path("hello"), body), wire.Invalid)
	refused(t, n.ask("admin", "POST", path("01"+strings.Repeat("f", 38)), body), wire.CertificateNotFound)
	refused(t, n.ask("admin", "POST", path(serials[0]), wire.RevokeCertificate{}), wire.Invalid)
	plan := get[wire.Operation](t, n.ask("admin", "POST", path(serials[0])+"?plan=true", body))
	if row := get[wire.Certificate](t, n.ask("admin", "GET", wire.Path(wire.PathCertificate, serials[0]), nil)); !plan.Plan || row.Status != wire.Good {
		t.Errorf("a plan %+v made it %s", plan, row.Status)
	}
	id := newID()
	op := get[wire.Operation](t, n.ask("admin", "POST", path(strings.ToUpper(serials[0])), body, wire.HeaderRequestID, id))
	again := n.ask("admin", "POST", path(strings.ToUpper(serials[0])), body, wire.HeaderRequestID, id)
	if op.Verb != "cert revoke" || op.Key != "root" || op.Reason != lifecycle.KeyCompromise || op.Published == nil || again.header.Get(wire.HeaderReplayed) != "true" {
		t.Errorf("operation %+v, again %+v", op, again)
	}
	events := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?"+wire.QueryKind+"=cert.revoked", nil))
	if len(events.Items) != 1 || string(events.Items[0].Serial) != serials[0] || events.Items[0].Key != "root" {
		t.Errorf("events %+v", events.Items)
	}
	row := get[wire.Certificate](t, n.ask("admin", "GET", wire.Path(wire.PathCertificate, serials[0]), nil))
	if row.Status != "revoked" || row.Revocation.Reason != lifecycle.KeyCompromise || row.Revocation.Comment != "disk sold" {
		t.Errorf("%+v", row)
	}
}

// TestProfileByPut: what is got can be put, changed.
func TestProfileByPut(t *testing.T) {
	n := start(t)
	terms := get[wire.Profile](t, n.ask("admin", "GET", wire.Path(wire.PathProfile, "server"), nil)).Terms
	terms.MaxValidity = 40 * lifecycle.Day
	op := get[wire.Operation](t, n.ask("admin", "PUT", wire.Path(wire.PathProfile, "server"), wire.SetProfile{Terms: terms}))
	p := get[wire.Profile](t, n.ask("admin", "GET", wire.Path(wire.PathProfile, "server"), nil))
	if op.Verb != "profile set" || p.Builtin || p.Version != 1 || p.Terms.MaxValidity != 40*lifecycle.Day {
		t.Errorf("%+v, profile %+v", op, p)
	}
	refused(t, n.ask("signer", "PUT", wire.Path(wire.PathProfile, "server"), wire.SetProfile{Terms: terms}), wire.Denied)
}

// TestCertificateShape: what scripts rely on is there, null where there is none.
func TestCertificateShape(t *testing.T) {
	n := start(t)
	ca, _ := n.rootOn("node2")
	serials := n.certify(ca, 1)
	row := get[map[string]any](t, n.ask("admin", "GET", wire.Path(wire.PathCertificate, serials[0]), nil))
	for _, field := range []string{"replaces", "replaced_by", "revocation"} {
		if v, is := row[field]; !is || v != nil {
			t.Errorf("%s: %v, %t", field, v, is)
		}
	}
	if as, is := row["as_of"].(string); !is || as == "" {
		t.Errorf("as_of: %v", row["as_of"])
	}
	is := get[wire.Issuer](t, n.ask("admin", "GET", wire.Path(wire.PathIssuer, "root"), nil))
	if url := is.Instances[0].CRLURL; !strings.HasSuffix(url, "/crl/root/"+ca.KID+".crl") || !strings.HasPrefix(url, "http") {
		t.Errorf("crl_url %q", url)
	}
}

func serialOf(t *testing.T, text string) lifecycle.Serial {
	t.Helper()
	s, err := lifecycle.ParseSerial(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPublishedWithALongList: a list that was signed under longer terms holds until its end.
func TestPublishedWithALongList(t *testing.T) {
	n := start(t)
	ca, until := n.rootOn("node2")
	serials := n.certify(ca, 1)
	terms := n.ledger.View().Issuer("root").IssuerTerms
	terms.CRLEvery, terms.CRLValid = lifecycle.Hour, 2*lifecycle.Hour
	n.ledger.Must(t, &command.SetIssuer{Issuer: "root", Terms: terms})
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.PathRevokeCertificates, wire.RevokeCertificates{Issuer: "root", Serials: serials, Reason: lifecycle.Superseded}))
	if op.Published == nil || op.Published.CachesExpireBy["crl"] != wire.Time(until) {
		t.Errorf("published %+v; a list is out until %s", op.Published, until)
	}
}

// TestRevocationsThatShareAnEntry: each answers for itself, then and later.
func TestRevocationsThatShareAnEntry(t *testing.T) {
	n := start(t)
	ca, _ := n.rootOn("node2")
	n.ledger.Must(t, &command.RaiseFormat{Format: authority.FormatKnown(n.ledger.View())})
	serials := n.certify(ca, 3)
	c := &command.GatherRevocations{}
	ids := []string{newID(), newID()}
	for i, reason := range []lifecycle.Reason{lifecycle.Superseded, lifecycle.KeyCompromise} {
		serial, err := lifecycle.ParseSerial(serials[i])
		if err != nil {
			t.Fatal(err)
		}
		c.Requests = append(c.Requests, command.RevocationRequest{Actor: "admin", RequestID: ids[i], RequestDigest: make([]byte, sha256.Size), Item: command.RevokeItem{Serial: serial, Reason: reason}})
	}
	cmd := n.ledger.Command(c)
	cmd.Header.Actor = "system"
	o, err := n.ledger.Propose(t.Context(), cmd)
	if err != nil || len(o.Requests) != 2 || !o.Requests[0].OK() || !o.Requests[1].OK() {
		t.Fatalf("%+v, %v", o, err)
	}
	for i, reason := range []lifecycle.Reason{lifecycle.Superseded, lifecycle.KeyCompromise} {
		op := get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, ids[i]), nil))
		if op.Verb != "cert revoke" || op.Reason != reason || op.Key != "root" || op.Actor != "admin" || !op.Complete || op.Committed == nil || op.Committed.Index != o.Index {
			t.Errorf("operation %+v", op)
		}
	}
	id, body := newID(), wire.RevokeCertificates{Issuer: "root", Serials: serials[2:], Reason: lifecycle.CertificateHold}
	first := n.ask("admin", "POST", wire.PathRevokeCertificates, body, wire.HeaderRequestID, id)
	again := n.ask("admin", "POST", wire.PathRevokeCertificates, body, wire.HeaderRequestID, id)
	a, b := get[wire.Operation](t, first), get[wire.Operation](t, again)
	terms := n.ledger.View().Issuer("root").IssuerTerms
	if at := a.Committed.At.Instant(); a.Published == nil || a.Published.At != a.Committed.At || a.Published.CachesExpireBy["ocsp"] != wire.Time(at.Add(terms.OCSPValid)) ||
		a.Published.CachesExpireBy["crl"] != wire.Time(at.Add(terms.CRLValid)) || len(a.Published.CachesExpireBy) != 2 {
		t.Errorf("published %+v, committed %+v", a.Published, a.Committed)
	}
	if a.Committed.Index != b.Committed.Index || a.Committed.At != b.Committed.At || a.Reached != wire.Committed || !a.Complete || again.header.Get(wire.HeaderReplayed) != "true" {
		t.Errorf("first %+v, again %+v", a, b)
	}
}
