package state_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// sealed puts a body into an envelope whose checksum is right.
func sealed(kind uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte("CHCY\x01"), kind)
	h := sha256.New()
	h.Write(b)
	h.Write(body)
	return append(h.Sum(b), body...)
}

const sealedAt = 4 + 1 + 2 + sha256.Size // where the body begins

// FuzzApply: whatever is in an entry, Apply gives the same on two machines, or stops
// both with a *Corruption or a *Divergence; and what it wrote can be loaded again.
func FuzzApply(f *testing.F) {
	w := newWorld(f).deactivated(1)
	w.ok(&command.MarkCheckpoint{})
	w.l.HoldSettling(true)
	standing := w.fence(revoke(lifecycle.KeyCompromise, 1))
	open := w.open(w.change(func(p *lifecycle.Policy) { p.Strict = true }))
	w.ok(w.sealing(0, 1, "other"))
	w.ok(signer("bob", "*"))
	w.ok(suspend(2))
	w.ok(approver("alice", ed25519Key("alice")))
	w.ok(w.settings(func(s *lifecycle.Settings) {
		for _, v := range []lifecycle.ApprovalVerb{lifecycle.ApproveResume, lifecycle.ApproveCluster, lifecycle.ApprovePrincipals} {
			s.Approvals = append(s.Approvals, lifecycle.ApprovalRule{Verb: v, Needs: 1, Approvers: []string{"alice"}})
		}
	}))
	w.ok(w.opening(1, resume(2)))
	w.ok(w.opening(2, resume(2)))
	w.approvedBy(2, "alice")
	w.ok(w.registering(verifier(eu, lifecycle.Required, 1, ci)))
	w.says(confirming(eu, w.kids(2), nil, "web-1"))
	rows, next := w.l.Rows(), w.l.View().Position().Index+1
	for _, b := range []command.Body{genesis(), newKey("other", w.nodes...), &command.PrepareVersion{Key: ci, Version: 3, Instances: intents(ci, 3, w.nodes...)},
		bind(ci, 2, w.nodes[0]), report(w.nodes[0], 2, lifecycle.Lost), publish(2), activate(2), early(1), suspend(2), resume(2), deactivate(2), withdraw(1),
		revoke(lifecycle.KeyCompromise), revoke(lifecycle.CertificateHold, 2), destroyAt(1, 1<<40), cancelDestroy(1), erase(1), erased(w.nodes[0], 1),
		person("bob", certA), &command.RevokePrincipal{Name: ledgertest.Admin}, w.token("token-0001", ledgertest.Admin), joinToken(w, "token-0002"),
		&command.JoinNode{TokenID: "token-0002", Node: ledgertest.Record(ledgertest.NodeID("x"), "x")}, &command.RaiseFormat{Format: 2},
		&command.SetNodeStatus{ID: w.nodes[1], Status: lifecycle.Quarantined}, confirmed(w.l.View().Mark(), w.nodes[0]),
		&command.AdvanceClock{Readings: []command.ClockReading{{Node: w.nodes[0], At: w.l.Clock().At()}}},
		&command.RecordFenced{Term: 3, Fences: []command.FencedAt{{Index: open.Index, Nodes: []lifecycle.FencedNode{{Node: w.nodes[0], Outcome: lifecycle.LeaseExpired, At: 5}}}}},
		&command.RecordSettled{Indexes: []uint64{standing.Index}}, w.sealing(1, 2, ci), &command.LiftSeal{Node: w.nodes[0], ID: sealID(1)}, terms(1000, 500),
		&command.RotateGossipKey{Digest: bytes.Repeat([]byte{7}, 32)}, emergency(w, 3), pause(), unpause(), skip(1, lifecycle.GateWithdraw), rollBack(2), &command.NoteWaiting{Key: ci, Version: 2, For: "alice"},
		w.hooks("chat", "pager"), &command.NoteDelivered{Items: []command.Delivered{{Webhook: "chat", After: 3}}},
		&command.RecordSignatures{Node: w.nodes[0], Groups: []command.SignatureGroup{signed(ci, 2, w.instance(2, 0).KID, "bob", 2)}},
		w.opening(3, resume(2)), w.approval(1, ed25519Key("alice")), &command.RejectProposal{Proposal: pid(1)}, &command.WithdrawProposal{Proposal: pid(1), Comment: "no"},
		w.execution(2, resume(2)), w.execution(1, resume(2)), w.tally(0, 7, 3), confirmPurpose(w, lifecycle.Day), &command.ExpireProposals{IDs: []string{pid(1)}}, &command.BreakGlass{Plan: command.PlanOf(resume(2)), Reason: "fire"}} {
		cmd := w.request(uuid(w.l.Clock().At(), 1), "x", b)
		switch b.(type) {
		case *command.RecordFenced, *command.RecordSettled, *command.RecordConfirmations, *command.LapseConfirmations, *command.NoteDelivered:
			cmd.Header.Actor = "system"
		}
		cmd.Header.Reads = []command.RowRef{state.RefKey(w.l.View().Key(ci))}
		entry, err := cmd.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(b.Kind()), entry[sealedAt:])
	}
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) { twice(t, rows, next, sealed(kind, body)) })
}

// FuzzApplyCertificates is FuzzApply on a state with issuers and certificates.
func FuzzApplyCertificates(f *testing.F) {
	p := newPKI(f)
	p.ok(&command.SetProfile{Name: "web", Terms: profileTerms()})
	issued, held, open, lost := p.issued("a.test", "web-01"), p.issued("b.test", "web-01"), p.leafForm("c.test"), p.leafForm("d.test")
	p.ok(revokeCert(lifecycle.CertificateHold, held.serial))
	p.announce(p.item(lost, "web-01"))
	p.pass(lifecycle.Minute)
	p.announce(p.item(open, "web-02"))
	p.ok(p.crlCommand(1, "one"))
	key := der(0x30, []byte("responder key"))
	p.ok(&command.AnnounceResponder{Node: p.nodes[0], SPKI: key})
	delegate := p.leafForm("OCSP")
	delegate.spki = key
	it := p.item(delegate, "node:alpha")
	it.Profile = lifecycle.ProfileOCSP
	p.announce(it)
	p.each(p.record(delegate), "")
	terms := p.l.View().Issuer(corp).IssuerTerms
	renewal := p.item(p.leafForm("e.test"), "web-01")
	p.renewing(&renewal, issued.serial)
	for _, b := range []command.Body{newIssuer("other", lifecycle.IssuingIssuer, root, p.nodes...), p.bindCA(1, 0), &command.SetIssuer{Issuer: corp, Terms: terms},
		&command.SetProfile{Name: "web", Terms: profileTerms()}, &command.DropProfile{Name: "web"},
		&command.IssueIntents{Node: p.nodes[0], Items: []command.IssueItem{p.item(p.leafForm("f.test"), "web-01"), renewal}},
		&command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: open.serial, DER: open.cert()}, {Serial: issued.serial, DER: issued.cert()}}},
		revokeCert(lifecycle.KeyCompromise, issued.serial, held.serial, open.serial), revokeCert(lifecycle.CACompromise, p.caSerial(1)),
		&command.ReleaseCertificates{Serials: []lifecycle.Serial{held.serial}}, &command.AbandonIntents{Serials: []lifecycle.Serial{lost.serial}},
		&command.PruneRevoked{Serials: []lifecycle.Serial{held.serial}},
		&command.WarnExpiring{To: lifecycle.CertMark{NotAfter: p.l.Clock().At()}, Serials: []lifecycle.Serial{issued.serial}}, p.crlCommand(2, "two"), &command.BindResponder{Node: p.nodes[0], Serial: delegate.serial},
		&command.AnnounceResponder{Node: p.nodes[1], SPKI: key},
		&command.GatherRevocations{Requests: []command.RevocationRequest{p.asking(1, "web-01", issued.serial, lifecycle.KeyCompromise), p.asking(2, "web-02", held.serial, lifecycle.Superseded), p.asking(1, "web-01", lost.serial, lifecycle.Superseded)}},
		&command.GatherIssuance{Records: []command.RecordIssued{{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: open.serial, DER: open.cert()}}}, {Node: p.nodes[1], Items: []command.IssuedItem{{Serial: issued.serial, DER: issued.cert()}}}},
			Announcements: []command.IssueIntents{{Node: p.nodes[1], Items: []command.IssueItem{p.item(p.leafForm("g.test"), "web-02")}}, {Node: p.nodes[0], Items: []command.IssueItem{renewal}}}}} {
		cmd := p.l.Command(b)
		switch b.(type) {
		case *command.AbandonIntents, *command.PruneRevoked, *command.WarnExpiring, *command.GatherRevocations, *command.GatherIssuance:
			cmd.Header.Actor = "system"
		}
		entry, err := cmd.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(b.Kind()), entry[sealedAt:])
	}
	rows, next := p.l.Rows(), p.l.View().Position().Index+1
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) { twice(t, rows, next, sealed(kind, body)) })
}

// twice applies an entry on two machines.
func twice(t *testing.T, rows state.Reader, next uint64, entry []byte) {
	var results [2]string
	for i := range results {
		b := ledgertest.Restore(rows)
		m, err := state.LoadMachine(b)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = apply(t, m, b, next, entry)
	}
	if results[0] != results[1] {
		t.Fatalf("one machine:\n%s\nthe other:\n%s", results[0], results[1])
	}
}

// apply gives all there is to compare: the panic, or outcome, digest and rows.
func apply(t *testing.T, m *state.Machine, b *ledgertest.Memory, index uint64, entry []byte) (result string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *state.Corruption:
			if !errors.Is(r, command.ErrCorrupt) && !errors.Is(r, command.ErrUnknownKind) {
				t.Fatalf("stopped without a known reason: %v", r)
			}
			result = r.Error()
		case *state.Divergence:
			result = r.Error()
		default:
			panic(r)
		}
	}()
	o := m.Apply(b, index, 0, entry)
	root := m.Seal(b)
	if scan(b) != (sums{root.Meta.Rows, root.Meta.Derived}) {
		t.Fatal("the incremental digest is not the scan's")
	}
	again, err := state.LoadMachine(b)
	if err != nil {
		t.Fatalf("what was applied cannot be loaded: %v", err)
	}
	if again.Root().Meta.Digest() != root.Meta.Digest() {
		t.Fatal("what was loaded has another digest")
	}
	v := state.NewView(root, func(read func(state.Reader) error) error { return read(b) })
	if err := v.Operations("", func(*state.Operation) bool { return true }); err != nil {
		t.Fatalf("an operation cannot be read: %v", err)
	}
	if _, err := v.FindCertificates(state.CertQuery{Limit: state.MaxCertPage}); err != nil {
		t.Fatalf("a certificate cannot be read: %v", err)
	}
	if err := v.Leaves(0, func(uint64, *state.Leaf, []byte) bool { return true }); err != nil {
		t.Fatalf("a leaf cannot be read: %v", err)
	}
	return fmt.Sprintf("%+v %x %x\n%s", o, root.Meta.Digest(), root.Meta.LogRoot, dump(b))
}

func TestApplyStopsAtWhatItCannotRead(t *testing.T) {
	w := newWorld(t)
	good, err := w.l.Command(&command.MarkCheckpoint{}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		entry []byte
		index uint64
		want  error
	}{
		"nothing":          {nil, 1000, command.ErrCorrupt},
		"a flipped bit":    {flipped, 1000, command.ErrCorrupt},
		"an unknown kind":  {sealed(999, []byte{0x82, 0xa0, 0xa0}), 1000, command.ErrUnknownKind},
		"an entry of old":  {good, 1, nil},
		"the last of them": {good, w.l.View().Position().Index, nil},
	} {
		b := ledgertest.Restore(w.l.Rows())
		m, err := state.LoadMachine(b)
		if err != nil {
			t.Fatal(err)
		}
		before := dump(b)
		func() {
			defer func() {
				r, ok := recover().(*state.Corruption)
				if !ok || r.Index != c.index || c.want != nil && !errors.Is(r, c.want) {
					t.Errorf("%s: %v, want a corruption (%v)", name, r, c.want)
				}
			}()
			m.Apply(b, c.index, 0, c.entry)
		}()
		if dump(b) != before {
			t.Errorf("%s: the machine stopped and had written already", name)
		}
	}
}

func TestSkipMovesTheIndexAlone(t *testing.T) {
	w := newWorld(t)
	b := ledgertest.Restore(w.l.Rows())
	m, err := state.LoadMachine(b)
	if err != nil {
		t.Fatal(err)
	}
	before, rows := m.Root().Meta, dump(b)
	m.Skip(before.Index + 7)
	after := m.Seal(b).Meta
	if after.Index != before.Index+7 || after.Digest() != before.Digest() || after.LogSize != before.LogSize || dump(b) != rows {
		t.Errorf("meta %+v", after.Position())
	}
	if again, err := state.LoadMachine(b); err != nil || again.Index() != after.Index {
		t.Errorf("loaded at %d, %v", again.Index(), err)
	}
}

// TestLoadRefusesWhatItCannotRead: a damaged row stops the start, not a request later.
func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	w := newWorld(t).active(1)
	for _, table := range state.Tables {
		if table == state.TableLog || table == state.TableLogHashes || table == state.TableOperations {
			continue
		}
		key := ""
		w.l.Rows().Ascend(table, "", func(k string, _ []byte) bool { key = k; return false })
		if key == "" {
			continue // no row of this table was made
		}
		for name, damage := range map[string]func([]byte) []byte{
			"cut":     func(b []byte) []byte { return b[:len(b)-1] },
			"longer":  func(b []byte) []byte { return append(b, 0) },
			"garbage": func([]byte) []byte { return []byte{0xff} },
			"empty":   func([]byte) []byte { return []byte{} },
		} {
			b := ledgertest.Restore(w.l.Rows())
			b.Put(table, key, damage(append([]byte(nil), b.Get(table, key)...)))
			if _, err := state.LoadMachine(b); err == nil {
				t.Errorf("%s: a %s row is loaded", table, name)
			}
		}
	}
}
