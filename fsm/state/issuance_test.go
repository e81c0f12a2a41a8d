package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// apart are the commands that the parts of a shared entry would be in entries of their
// own, each of the node that it names.
func apart(v *state.View, h command.Header, c *command.GatherIssuance) (out []*command.Command) {
	add := func(node lifecycle.NodeID, body command.Body) {
		actor := "node:" + node.Short()
		if n := v.Node(node); n != nil {
			actor = "node:" + n.Name
		}
		out = append(out, &command.Command{Header: command.Header{At: h.At, Actor: actor, Node: h.Node}, Body: body})
	}
	for i := range c.Records {
		add(c.Records[i].Node, &c.Records[i])
	}
	for i := range c.Announcements {
		add(c.Announcements[i].Node, &c.Announcements[i])
	}
	return out
}

// placeless is what a replica holds, without the entries that it is from: revisions,
// indexes and the places of leaves.
func placeless(t rapid.TB, r *replica) string {
	var b strings.Builder
	v := r.view()
	for _, table := range state.Tables {
		if table == state.TableMeta || table == state.TableLog || table == state.TableLogHashes {
			continue
		}
		r.b.Ascend(table, "", func(key string, row []byte) bool {
			switch table {
			case state.TableCertificates:
				row = without(t, row, func(c *lifecycle.Certificate) {
					c.Rev, c.Index = 0, 0
					if c.Revocation != nil {
						c.Revocation.Index = 0
					}
				})
			case state.TableTallies:
				row = without(t, row, func(c *lifecycle.CertTally) { c.Rev, c.IssuedIndex, c.RevokedIndex = 0, 0, 0 })
			case state.TableCertIntents:
				key = "" // the entry
			}
			fmt.Fprintf(&b, "%s %q %x\n", table, key, row)
			return true
		})
	}
	if err := v.Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool {
		leaf := *l
		leaf.Index, leaf.Sub, leaf.Command = 0, 0, ""
		fmt.Fprintf(&b, "%+v\n", leaf)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// without decodes a row and encodes it with something cleared.
func without[T any](t rapid.TB, b []byte, change func(*T)) []byte {
	row := new(T)
	if err := command.Unmarshal(b, row); err != nil {
		t.Fatal(err)
	}
	change(row)
	return command.Marshal(row)
}

// intentsOf are the open intents, whatever entries their rows are of.
func intentsOf(r *replica) (out []string) {
	r.b.Ascend(state.TableCertIntents, "", func(_ string, b []byte) bool {
		for ; len(b) > 0; b = b[28:] {
			out = append(out, string(b[:28]))
		}
		return true
	})
	return out
}

// alike applies a shared entry, and its parts in entries of their own to a copy: what
// comes of each part and what is left must not differ.
func alike(t rapid.TB, r *replica, cmd *command.Command) state.Outcome {
	r.m.Seal(r.b)
	b := ledgertest.Restore(r.b.Snapshot())
	m, err := state.LoadMachine(b)
	if err != nil {
		t.Fatal(err)
	}
	other, c := &replica{m, b}, cmd.Body.(*command.GatherIssuance)
	var want []state.Outcome
	for _, part := range apart(r.view(), cmd.Header, c) {
		want = append(want, one(t, other, part))
	}
	o := one(t, r, cmd)
	if !o.OK() || len(o.Requests) != len(want) {
		t.Fatalf("an entry of %d parts came to %+v", len(want), o)
	}
	for i, got := range o.Requests {
		if got.Index != o.Index || got.Code != want[i].Code || !slices.Equal(got.Groups, want[i].Groups) {
			t.Fatalf("part %d came to %+v, alone to %+v", i, got, want[i])
		}
	}
	if a, b := intentsOf(r), intentsOf(other); !slices.Equal(a, b) {
		t.Fatalf("open are %x, of parts in their own entries %x", a, b)
	}
	drop := func(s string) string { // compared above: which rows they share follows the entries
		return strings.Join(slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.HasPrefix(l, string(state.TableCertIntents)+" ") }), "\n")
	}
	if a, b := drop(placeless(t, other)), drop(placeless(t, r)); a != b {
		t.Fatalf("the shared entry leaves\n%s\nand its parts in their own\n%s", diff(a, b), diff(b, a))
	}
	return o
}

// one applies the next entry.
func one(t rapid.TB, r *replica, cmd *command.Command) state.Outcome {
	entry, err := cmd.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o := r.m.Apply(r.b, r.m.Index()+1, 0, entry)
	r.m.Seal(r.b)
	return o
}

// TestGatheredIssuanceIsWhatItWouldBeAlone: after whatever came before, the parts of a
// shared entry come to what they would in entries of their own.
func TestGatheredIssuanceIsWhatItWouldBeAlone(t *testing.T) {
	base := newPKI(t)
	rows := base.l.Rows()
	rapid.Check(t, func(t *rapid.T) {
		d := &certDriver{driver: driver{rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), now: base.l.Clock().At(), nodes: base.nodes}, p: base, forms: map[lifecycle.Serial]form{}}
		b := ledgertest.Restore(rows)
		m, err := state.LoadMachine(b)
		if err != nil {
			t.Fatal(err)
		}
		r := &replica{m, b}
		d.view = r.view()
		for range 20 {
			cmd := d.command()
			if d.flip(2) {
				cmd.Header.Actor, cmd.Body = "system", d.issuance()
			}
			if _, ok := cmd.Body.(*command.GatherIssuance); ok {
				alike(t, r, cmd)
			} else {
				one(t, r, cmd)
			}
			d.view = r.view()
		}
	})
}

// replica is a copy of the PKI that entries are tried on.
func (p *pki) replica() *replica {
	p.Helper()
	b := ledgertest.Restore(p.l.Rows())
	m, err := state.LoadMachine(b)
	if err != nil {
		p.Fatal(err)
	}
	return &replica{m, b}
}

// share applies one entry of records and announcements to a copy of the state.
func (p *pki) share(c *command.GatherIssuance) (state.Outcome, *replica) {
	p.Helper()
	r, cmd := p.replica(), p.l.Command(c)
	cmd.Header.Actor = "system"
	return alike(p, r, cmd), r
}

// beta is an announcement of a leaf by the second node's instance.
func (p *pki) beta(name, requester string) command.IssueItem {
	f := p.leafForm(name)
	it := p.item(f, requester)
	it.KID = p.kid(corp, 1, 1)
	return it
}

// TestGatheredIssuance: each node has its own answers, leaf and certificates, whatever
// becomes of the others'.
func TestGatheredIssuance(t *testing.T) {
	p := newPKI(t)
	f, renewed := p.leafForm("a.test"), p.leafForm("b.test")
	p.announce(p.item(f, "web-01"))
	renewal := p.item(renewed, "web-01")
	renewal.Replaces, renewal.ByCertificate = &f.serial, true
	forged := p.leafForm("c.test")
	o, r := p.share(&command.GatherIssuance{
		Records: []command.RecordIssued{{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}}},
			{Node: p.nodes[1], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}, {Serial: forged.serial, DER: forged.cert()}}}},
		Announcements: []command.IssueIntents{{Node: p.nodes[1], Items: []command.IssueItem{p.beta("d.test", "web-02"), p.beta("e.test", "nobody")}},
			{Node: p.nodes[0], Items: []command.IssueItem{renewal}}, {Node: p.nodes[0], Items: []command.IssueItem{renewal}}}})
	for i, want := range [][]state.Code{{""}, {state.InstanceNotHere, state.CertificateNotFound}, {"", state.Denied}, {""}, {state.AlreadyExists}} {
		p.each(o.Requests[i], want...)
	}
	var issued []*state.Leaf
	if err := r.view().Leaves(p.l.View().Position().LogSize, func(_ uint64, l *state.Leaf, _ []byte) bool {
		issued = append(issued, l)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(issued) != 1 || issued[0].Kind != "cert.issued" || issued[0].Actor != "node:alpha" || issued[0].Node != p.nodes[0] || !slices.Equal(issued[0].Serials, []lifecycle.Serial{f.serial}) {
		t.Errorf("leaves %+v", issued)
	}
	if op, err := r.view().Certificate(renewed.serial); err != nil || op == nil || op.State != lifecycle.CertIntent || op.Node != p.nodes[0] {
		t.Errorf("%+v, %v", op, err)
	}
}

// TestGatheredIssuanceAfterTheRightEnded: who lost the right between the two entries gets no
// certificate, and the others do.
func TestGatheredIssuanceAfterTheRightEnded(t *testing.T) {
	p := newPKI(t)
	gone, stays := p.leafForm("a.test"), p.leafForm("b.test")
	p.announce(p.item(gone, "web-01"))
	p.announce(p.item(stays, "web-02"))
	p.ok(&command.RevokePrincipal{Name: "web-01"})
	record := func(f form) command.RecordIssued {
		return command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}}}
	}
	o, r := p.share(&command.GatherIssuance{Records: []command.RecordIssued{record(gone), record(stays)},
		Announcements: []command.IssueIntents{{Node: p.nodes[0], Items: []command.IssueItem{p.item(p.leafForm("c.test"), "web-01")}}}})
	p.each(o.Requests[0], state.Denied)
	p.each(o.Requests[1], "")
	p.each(o.Requests[2], state.Denied)
	if c, err := r.view().Certificate(gone.serial); err != nil || c.State != lifecycle.CertRevoked || !c.Revocation.Unrecorded {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestGatheredIssuanceOfOneKey: whose a public key is, is what the first certificate for it
// says, also when a part of the same entry announced it.
func TestGatheredIssuanceOfOneKey(t *testing.T) {
	p := newPKI(t)
	spki := der(0x30, []byte("the one key"))
	part := func(requester, profile string) command.IssueIntents {
		f := p.leafForm("k.test")
		f.spki = spki
		it := p.item(f, requester)
		it.Profile = profile
		return command.IssueIntents{Node: p.nodes[0], Items: []command.IssueItem{it}}
	}
	o, _ := p.share(&command.GatherIssuance{Announcements: []command.IssueIntents{part("web-01", "server"), part("node:alpha", lifecycle.ProfileOCSP),
		part("web-01", "server"), part("web-02", "server")}})
	for i, want := range []state.Code{"", "", "", state.KeyReused} {
		p.each(o.Requests[i], want)
	}
}

// TestGatheredIssuanceForgets: requests are forgotten as fast as if each part had an entry.
func TestGatheredIssuanceForgets(t *testing.T) {
	p := newPKI(t)
	part := func(n int) command.IssueIntents {
		it := p.item(p.leafForm(fmt.Sprintf("h%d.test", n)), "web-01")
		it.RequestID, it.RequestDigest = uuid(p.now(), n), hash32([]byte{byte(n)})
		return command.IssueIntents{Node: p.nodes[0], Items: []command.IssueItem{it}}
	}
	for n := range 9 {
		c := part(n)
		p.each(p.ok(&c), "")
	}
	p.pass(25 * lifecycle.Hour)
	p.ok(&command.MarkCheckpoint{})
	o, r := p.share(&command.GatherIssuance{Announcements: []command.IssueIntents{part(10), part(11), part(12)}})
	for i := range o.Requests {
		p.each(o.Requests[i], "")
	}
	left := 0
	r.b.Ascend(state.TableCertRequests, "", func(string, []byte) bool { left++; return true })
	if left != 9-2*3+3 {
		t.Errorf("%d requests are remembered", left)
	}
}

// TestGatheredIssuanceIsOfTheCluster: nobody gathers but the leader, and not before every
// member understands it.
func TestGatheredIssuanceIsOfTheCluster(t *testing.T) {
	p := newPKI(t)
	c := &command.GatherIssuance{Announcements: []command.IssueIntents{{Node: p.nodes[0], Items: []command.IssueItem{p.item(p.leafForm("a.test"), "web-01")}}}}
	p.no(state.Invalid, c)
	w := newWorld(t)
	w.ok(&command.RaiseFormat{Format: command.MinFormat(command.KindGatherRevocations)})
	cmd := w.l.Command(c)
	cmd.Header.Actor = "system"
	if o := w.propose(cmd); o.Code != state.FormatTooLow {
		t.Errorf("outcome %+v", o)
	}
}
