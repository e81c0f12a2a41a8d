package ledgertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Admin is the principal that Genesis makes, with the role admin:*.
const Admin = "admin"

// NodeID is a well-formed node id made from a name.
func NodeID(name string) lifecycle.NodeID {
	sum := sha256.Sum256([]byte("ledgertest node " + name))
	return lifecycle.NodeID(hex.EncodeToString(sum[:]))
}

// CKAID is a well-formed CKA_ID made from a text.
func CKAID(s string) lifecycle.CKAID {
	sum := sha256.Sum256([]byte("ledgertest cka_id " + s))
	return lifecycle.CKAID(sum[:16])
}

// Record is what a node of this name would say of itself when it enters.
func Record(id lifecycle.NodeID, name string) command.NodeRecord {
	return command.NodeRecord{
		ID: id, Name: name, Incarnation: string(id[:16]), CACert: []byte("CA certificate of " + name),
		Addrs:     lifecycle.Addrs{Node: "127.0.0.1:7400", API: "127.0.0.1:7401", Public: "127.0.0.1:7402"},
		MaxFormat: command.MaxFormat, Version: "test", Driver: "soft",
	}
}

// Do proposes one command as the admin at the clock's time. It fails the test
// when nothing came of it; a refusal is an Outcome.
func (l *Ledger) Do(t testing.TB, body command.Body, reads ...command.RowRef) state.Outcome {
	t.Helper()
	o, err := l.Propose(context.Background(), &command.Command{
		Header: command.Header{At: l.clock.At(), Actor: Admin, Node: l.node, Reads: reads}, Body: body})
	if err != nil {
		t.Fatalf("propose %s: %v", body.Kind(), err)
	}
	return o
}

// Must is Do for a command that may not be refused.
func (l *Ledger) Must(t testing.TB, body command.Body, reads ...command.RowRef) state.Outcome {
	t.Helper()
	o := l.Do(t, body, reads...)
	if !o.OK() {
		t.Fatalf("%s was refused: %s %s: %s", body.Kind(), o.Code, o.Subject, o.Detail)
	}
	return o
}

// Genesis proposes Init with the principal Admin, and lets further nodes in as
// members and signers. The first name is this node's, "n1" when none is given; the
// others get NodeID(name). It returns the ids in the order of the names.
func Genesis(t testing.TB, l *Ledger, names ...string) []lifecycle.NodeID {
	t.Helper()
	if len(names) == 0 {
		names = []string{"n1"}
	}
	l.Must(t, &command.Init{
		ClusterID: "00112233445566778899aabbccddeeff", Name: "test", Node: Record(l.node, names[0]),
		Admin: command.PrincipalRecord{Name: Admin, Kind: lifecycle.Person,
			Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}},
		Settings: lifecycle.DefaultSettings(),
	})
	ids := []lifecycle.NodeID{l.node}
	for _, name := range names[1:] {
		ids = append(ids, Join(t, l, name))
	}
	return ids
}

// Join lets one more node in as member and signer.
func Join(t testing.TB, l *Ledger, name string) lifecycle.NodeID {
	t.Helper()
	id, token := NodeID(name), "join-"+name
	secret := sha256.Sum256([]byte(token))
	l.Must(t, &command.AddJoinToken{ID: token, MACKey: secret[:], ExpiresAt: l.clock.At().Add(lifecycle.Hour)})
	l.Must(t, &command.JoinNode{TokenID: token, Node: Record(id, name)})
	l.Must(t, &command.SetNodeRoles{ID: id, Signer: true})
	return id
}

// Command is a command as the admin would send it now, for callers of Propose.
func (l *Ledger) Command(body command.Body) *command.Command {
	return &command.Command{Header: command.Header{At: l.clock.At(), Actor: Admin, Node: l.node}, Body: body}
}

// Pass lets time pass: it moves the clock and, where that is more than an ordinary
// command may move the state's Clock, proposes AdvanceClock first.
func (l *Ledger) Pass(t testing.TB, d time.Duration) {
	t.Helper()
	l.clock.Advance(d)
	if l.clock.At() > l.View().Clock().Add(state.MaxClockStep) {
		l.Must(t, &command.AdvanceClock{Readings: []command.ClockReading{{Node: l.node, At: l.clock.At()}}})
	}
}

// Position of the newest view, to ask other reads for.
func (l *Ledger) Position() ledger.Freshness {
	pos := l.View().Position()
	return ledger.Freshness{MinEpoch: pos.Epoch, MinIndex: pos.Index}
}
