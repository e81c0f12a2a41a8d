package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const ci lifecycle.KeyID = "ci"

// world is a cluster of two nodes with one key; the first node has a journal.
type world struct {
	testing.TB
	l     *ledgertest.Ledger
	nodes []lifecycle.NodeID
	dir   string
	j     *audit.Journal
	t     *evidence.Teller
	fail  error // of the next report
	asked int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, l: ledgertest.New(t), dir: t.TempDir()}
	w.nodes = ledgertest.Genesis(t, w.l, "alpha", "beta")
	c := &command.CreateKey{Name: ci, Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform", Reason: "tests",
		Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)}
	for _, n := range w.nodes {
		c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: ledgertest.CKAID("ci" + string(n))})
	}
	w.l.Must(t, c)
	for i, n := range w.nodes {
		w.l.Must(t, &command.BindInstance{Key: ci, Version: 1, Node: n, CKAID: ledgertest.CKAID("ci" + string(n)), SPKI: []byte{0x30, byte(i)}, KID: kid(i), Driver: "soft"})
	}
	w.start()
	return w
}

func kid(node int) string { return fmt.Sprintf("%042d", node) + "A" }

// start opens the journal as a process does.
func (w *world) start() {
	w.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	j, err := audit.Open(w.dir, audit.Options{Node: "alpha", Logger: quiet, Clock: w.l.Clock().Now, FlushDelay: time.Millisecond})
	if err != nil {
		w.Fatal(err)
	}
	w.j = j
	w.Cleanup(func() { j.Close() }) // closed twice is closed
	if _, err := j.Append(w.Context(), audit.Record{Kind: audit.Start}); err != nil {
		w.Fatal(err)
	}
	w.t = evidence.New(evidence.Config{Ledger: w.l, Journal: j, Log: quiet, Clock: w.l.Clock().Now, Report: func(ctx context.Context, c command.ReportTally) error {
		w.asked++
		if err := w.fail; err != nil {
			w.fail = nil
			return err
		}
		o, err := w.l.Propose(ctx, w.l.Command(&c))
		if err == nil {
			err = o.Err()
		}
		return err
	}})
}

func (w *world) restart() {
	w.Helper()
	w.stop()
	w.start()
}

func (w *world) stop() {
	w.Helper()
	if err := w.j.Close(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) step() {
	w.Helper()
	if err := w.t.Step(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// intent puts the use of a key on record, as signing does before.
func (w *world) intent(request, caller string) audit.Record {
	w.Helper()
	r := audit.Record{At: w.l.Clock().Now(), Kind: audit.SignIntent, Principal: caller, Verb: "key.sign", Key: string(ci), Version: 1, KID: kid(0),
		RequestID: request, Allowed: true, Digest: "abcd"}
	if _, err := w.j.Append(w.Context(), r); err != nil {
		w.Fatal(err)
	}
	return r
}

// sign records a use and how it ended, and waits until that is on the disk.
func (w *world) sign(request, caller string, released bool) {
	w.Helper()
	r := w.intent(request, caller)
	if r.Kind = audit.SignReleased; !released {
		r.Kind, r.Allowed = audit.SignRefused, false
	}
	if _, err := w.j.Append(w.Context(), r); err != nil {
		w.Fatal(err)
	}
	w.l.Clock().Advance(time.Second)
}

func (w *world) tally() *lifecycle.Tally { return w.l.View().Tally(ci, 1, w.nodes[0]) }

// wantCount compares what the node says and what the log says of its instance.
func (w *world) wantCount(released, open uint64) {
	w.Helper()
	w.step()
	c, ok := w.t.Count(kid(0))
	if !ok || c.Released != released || c.Open != open {
		w.Errorf("the node counts %+v (%v), want %d released, %d open", c, ok, released, open)
	}
	if t := w.tally(); t == nil && released+open > 0 || t != nil && (t.Released != released || t.Open != open) {
		w.Errorf("the log counts %+v, want %d released, %d open", t, released, open)
	}
}

func (w *world) search(ask evidence.Ask) evidence.Answer {
	w.Helper()
	ask.Key = string(ci)
	a, err := evidence.Search(w.Context(), w.j, w.nodes[0], ask, w.l.Clock().Now())
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// collect asks both nodes; the second has no journal and is what other says.
func (w *world) collect(ask evidence.Ask, cursor string, other func(evidence.Ask) (evidence.Answer, error)) evidence.Report {
	w.Helper()
	ask.Key = string(ci)
	r, err := evidence.Collect(w.Context(), w.l.View(), func(ctx context.Context, id lifecycle.NodeID, ask evidence.Ask) (evidence.Answer, error) {
		if id == w.nodes[1] {
			return other(ask)
		}
		return evidence.Search(ctx, w.j, id, ask, w.l.Clock().Now())
	}, ask, cursor)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func down(evidence.Ask) (evidence.Answer, error) {
	return evidence.Answer{}, errors.New("connection refused")
}

func silent(evidence.Ask) (evidence.Answer, error) {
	return evidence.Answer{FirstSeq: 1, Through: time.Unix(1<<40, 0)}, nil
}

func rewrite(t testing.TB, file string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}
