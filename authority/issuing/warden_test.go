package issuing

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestGoneInstance: an instance that was revoked because it is gone, and in nobody's
// hands, has until its last CRL ends; then its CA certificate is revoked at the parent.
func TestGoneInstance(t *testing.T) {
	w := build(t)
	w.keep()
	is, err := w.office.Issue(ctx, w.order(newKey(t), "a.test"))
	if err != nil {
		t.Fatal(err)
	}
	v := w.ledger.View()
	ca := v.CACerts("corp")[0]
	now := w.ledger.Clock().At()
	w.ledger.Must(t, &command.AllocateCRL{KID: ca.KID, Number: 1, TBSHash: make([]byte, 32), ThisUpdate: now, NextUpdate: now.Add(lifecycle.Hour),
		AtIndex: v.Position().Index, Node: w.ledger.NodeID()})

	w.ledger.Must(t, &command.ReportCondition{Key: "corp", Version: 1, Node: ca.Node, Condition: lifecycle.Lost, Detail: "not found"})
	if _, gone := Deadline(w.ledger.View(), ca); gone {
		t.Error("a pair that its node does not find may come back")
	}
	w.ledger.Must(t, &command.Revoke{Key: "corp", Node: ca.Node, Reason: lifecycle.CessationOfOperation})
	at, gone := Deadline(w.ledger.View(), ca)
	if !gone || at != now.Add(lifecycle.Hour) {
		t.Errorf("deadline %s, gone %v", at, gone)
	}
	if due, err := Due(w.ledger.View(), at, false); err != nil || len(due) != 0 {
		t.Errorf("due before the deadline: %v, %v", due, err)
	}
	w.ledger.Pass(t, time.Hour+time.Second)
	due, err := Due(w.ledger.View(), w.ledger.Clock().At(), false)
	if err != nil || len(due) != 1 {
		t.Fatalf("due: %v, %v", due, err)
	}
	if item := due[0].(*command.RevokeCertificates).Items[0]; item.Reason != lifecycle.CessationOfOperation {
		t.Errorf("%+v", item)
	}
	w.system(due[0])
	if row := w.ledger.View().CACerts("corp")[0]; row.Revocation == nil {
		t.Error("the CA certificate is not revoked")
	}
	page, err := w.ledger.View().Affected("corp", ca.Node, w.ledger.Clock().At(), "", 10)
	if err != nil || len(page.Certificates) != 1 || page.Certificates[0].Serial != is.Serial {
		t.Errorf("affected: %+v, %v", page.Certificates, err)
	}
}

// TestWardenWakes: the CA certificate of a key in other hands is revoked by the entry that
// says so, not at the warden's next round.
func TestWardenWakes(t *testing.T) {
	w := build(t)
	w.keep()
	warden := NewWarden(w.ledger, w.ledger.Clock().Now, slog.New(slog.DiscardHandler)) // a clock that stands still: nothing becomes due by time
	run, stop := context.WithCancel(ctx)
	warden.Start(run)
	defer func() { stop(); warden.Wait() }()
	w.ledger.Must(t, &command.MarkCheckpoint{}) // something else happens first
	w.ledger.Must(t, &command.Revoke{Key: "corp", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	for end := time.Now().Add(wardenEvery / 2); w.ledger.View().CACerts("corp")[0].Revocation == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the CA certificate is not revoked")
		}
	}
}
