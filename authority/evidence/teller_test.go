package evidence_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/evidence"
)

func TestTalliesGoIntoTheLog(t *testing.T) {
	w := newWorld(t)
	w.wantCount(0, 0)
	if w.asked != 0 {
		t.Fatal("an idle node reported at once")
	}
	w.sign("r1", "bob", true)
	w.sign("r2", "bob", false)
	w.intent("r3", "carol")
	w.wantCount(1, 1)
	head := w.l.View().LedgerHead(w.nodes[0])
	if head.Seq != w.j.Head().Seq || fmt.Sprintf("%x", head.Hash) != w.j.Head().Hash || head.Released != 1 {
		t.Errorf("head %+v, journal %+v", head, w.j.Head())
	}
	w.wantCount(1, 1)
	if w.asked != 1 {
		t.Errorf("%d reports where nothing changed", w.asked)
	}
	w.l.Clock().Advance(evidence.DefaultIdle)
	w.step()
	if again := w.l.View().LedgerHead(w.nodes[0]); w.asked != 2 || again.At <= head.At {
		t.Errorf("an idle node said nothing for %s: %d reports", evidence.DefaultIdle, w.asked)
	}
}

// TestCountsSurviveARestart: what was recorded and not reported is counted again from
// the last tally on, and nothing twice.
func TestCountsSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.sign("r1", "bob", true)
	w.wantCount(1, 0)
	w.sign("r2", "bob", true)
	w.intent("r3", "bob") // the process dies before the outcome is on the disk
	w.restart()
	w.sign("r4", "bob", true)
	w.wantCount(3, 1)
	w.restart()
	w.wantCount(3, 1)
	w.sign("r5", "bob", true)
	w.fail = errors.New("no leader")
	if err := w.t.Step(t.Context()); err == nil {
		t.Fatal("a report that failed passed for one")
	}
	w.wantCount(4, 1)
}

func TestLostJournalIsABreak(t *testing.T) {
	w := newWorld(t)
	w.sign("r1", "bob", true)
	w.sign("r2", "bob", true)
	w.wantCount(2, 0)
	known := w.l.View().LedgerHead(w.nodes[0])
	w.sign("r3", "bob", true) // released, and gone with the disk
	w.stop()
	w.dir = t.TempDir()
	w.start()
	w.sign("r4", "bob", true)
	w.wantCount(3, 0)
	head := w.l.View().LedgerHead(w.nodes[0])
	if len(head.Breaks) != 1 || head.Breaks[0].KnownAt != known.At || head.Breaks[0].Seq != known.Seq {
		t.Fatalf("head %+v", head)
	}
	w.sign("r5", "bob", true)
	w.restart() // the tally's line is of the old ledger no more
	w.wantCount(4, 0)
	if again := w.l.View().LedgerHead(w.nodes[0]); len(again.Breaks) != 1 {
		t.Errorf("breaks %+v", again.Breaks)
	}

	r := w.collect(evidence.Ask{Limit: 10}, "", silent)
	if r.Complete || r.Nodes[indexOf(w, r)].State != evidence.Partial || r.Released != 2 || r.Nodes[indexOf(w, r)].Missing != 2 {
		t.Errorf("%+v", r.Nodes)
	}
	// After the break everything is known.
	if r = w.collect(evidence.Ask{Limit: 10, Since: w.l.Clock().Now().Add(-time.Millisecond)}, "", silent); !r.Complete {
		t.Errorf("%+v", r.Nodes)
	}
}

// indexOf is where the node with the journal stands: nodes are in id order.
func indexOf(w *world, r evidence.Report) int {
	for i := range r.Nodes {
		if r.Nodes[i].ID == w.nodes[0] {
			return i
		}
	}
	w.Fatal("the node is not in the report")
	return 0
}

// TestRewrittenJournalIsABreak: lines cut off the end leave a chain that holds, and is
// another than the one that was reported.
func TestRewrittenJournalIsABreak(t *testing.T) {
	w := newWorld(t)
	w.sign("r1", "bob", true)
	w.sign("r2", "bob", true)
	w.wantCount(2, 0)
	w.stop()
	files, err := filepath.Glob(filepath.Join(w.dir, "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	rewrite(t, files[0], func(b []byte) []byte {
		lines := bytes.SplitAfter(bytes.TrimRight(b, "\x00"), []byte("\n"))
		return bytes.Join(lines[:len(lines)-3], nil)
	})
	w.start()
	for i := range 8 { // longer than before
		w.sign(fmt.Sprint("s", i), "bob", true)
	}
	w.wantCount(10, 0)
	if head := w.l.View().LedgerHead(w.nodes[0]); len(head.Breaks) != 1 {
		t.Errorf("head %+v", head)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.Search(t.Context(), w.j, w.nodes[0], evidence.Ask{Key: "ci"}, time.Now()); err != nil {
		t.Error(err)
	}
}
