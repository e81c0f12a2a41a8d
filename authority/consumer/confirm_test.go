package consumer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// kidsOf are the kids of a version, ascending.
func (w *world) kidsOf(version uint64) (out []string) {
	for _, i := range w.l.View().Instances(ci, version) {
		out = append(out, i.KID)
	}
	slices.Sort(out)
	return out
}

func (w *world) digestOf(kids []string) string {
	w.Helper()
	set, err := publish.Subset(w.l.View(), ci, kids)
	if err != nil {
		w.Fatal(err)
	}
	return set.Digest
}

func TestBadStatements(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	good := w.statement(eu, "web-1", nil)
	for name, spoil := range map[string]func(*consumer.Statement){
		"consumer_not_found: nobody":         func(s *consumer.Statement) { s.Consumer = "nobody" },
		"not_a_dependent: another key":       func(s *consumer.Statement) { s.Key = "other" },
		"invalid: no label":                  func(s *consumer.Statement) { s.Instance = "" },
		"invalid: a label of two lines":      func(s *consumer.Statement) { s.Instance = "a\nb" },
		"invalid: no digest":                 func(s *consumer.Statement) { s.Digest = "" },
		"invalid: an etag":                   func(s *consumer.Statement) { s.Digest = `"` + s.Digest + `"` },
		"invalid: a digest in capitals":      func(s *consumer.Statement) { s.Digest = strings.ToUpper(s.Digest) },
		"wrong_digest: of something else":    func(s *consumer.Statement) { s.Digest = "sha256:" + strings.Repeat("0", 64) },
		"wrong_digest: of other kids":        func(s *consumer.Statement) { s.KIDs = w.kidsOf(1) },
		"wrong_digest: of no kids":           func(s *consumer.Statement) { s.Empty = true },
		"unknown_kid: made up":               func(s *consumer.Statement) { s.KIDs = []string{strings.Repeat("A", 43)} },
		"unknown_kid: a prefix":              func(s *consumer.Statement) { s.KIDs = []string{w.kidsOf(1)[0][:10]} },
		"unknown_kid: empty":                 func(s *consumer.Statement) { s.KIDs = []string{""} },
		"invalid: a kid twice":               func(s *consumer.Statement) { s.KIDs = append(w.kidsOf(1), w.kidsOf(1)[0]) },
		"invalid: too many kids":             func(s *consumer.Statement) { s.KIDs = make([]string, command.MaxKIDs+1) },
		"invalid: kids of an empty set":      func(s *consumer.Statement) { s.KIDs, s.Empty = w.kidsOf(1), true },
		"invalid: canaries of no challenge":  func(s *consumer.Statement) { s.Verified = map[string][]int{"kid": {1}} },
		"unknown_kid: proof of a kid absent": func(s *consumer.Statement) { s.Challenge, s.Verified = "x", map[string][]int{"kid": {1}} },
	} {
		s := good
		spoil(&s)
		code, _, _ := strings.Cut(name, ":")
		t.Run(name, func(*testing.T) { w.no(code, s) })
	}
	w.l.Must(t, &command.RetireConsumer{Name: eu})
	_, err := w.desks[0].Confirm(ctx, good)
	var refusal *authority.Refusal
	if !errors.As(err, &refusal) || refusal.Code != "illegal_transition" {
		t.Errorf("a retired consumer confirms: %v", err)
	}
}

func TestOnlyTheLeaderRecords(t *testing.T) {
	w := build(t, lifecycle.ES256)
	if _, err := w.desks[1].Confirm(ctx, w.statement(eu, "web-1", nil)); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("another node records: %v", err)
	}
}

// TestLocalSet: a consumer that has dropped the old keys says so with kids of its own,
// and the gate of the withdrawal opens.
func TestLocalSet(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	w.l.Pass(t, 2*hour)
	w.l.Must(t, &command.ActivateVersion{Key: ci, Version: 2, Early: true, Comment: "test"})
	if w.holdouts(lifecycle.GateWithdraw, 1) != 1 {
		t.Fatal("the gate is open")
	}
	for _, instance := range []string{"web-1", "web-2"} {
		s := w.statement(eu, instance, nil)
		s.KIDs = w.kidsOf(2)
		slices.Reverse(s.KIDs) // in any order
		s.Digest = w.digestOf(w.kidsOf(2))
		if r := w.confirm(s); r.Current || !r.Recorded {
			t.Errorf("receipt %+v", r)
		}
	}
	if w.holdouts(lifecycle.GateWithdraw, 1) != 0 {
		t.Error("the gate stays shut")
	}
	s := w.statement(eu, "web-1", nil)
	s.Empty, s.Digest = true, w.digestOf(nil)
	if r := w.confirm(s); r.Current {
		t.Errorf("receipt %+v", r)
	}
}

// TestRepeatsCostNothing: what the log has with more than half its time left is not
// written again.
func TestRepeatsCostNothing(t *testing.T) {
	w := build(t, lifecycle.ES256)
	s := w.statement(eu, "web-1", nil)
	if r := w.confirm(s); !r.Recorded {
		t.Fatalf("receipt %+v", r)
	}
	index := w.l.View().Position().Index
	for range 5 {
		if r := w.confirm(s); r.Recorded || r.Have != 1 || r.ExpiresAt == 0 {
			t.Errorf("receipt %+v", r)
		}
	}
	if now := w.l.View().Position().Index; now != index {
		t.Errorf("the log grew from %d to %d", index, now)
	}
	w.l.Pass(t, 12*hour)
	if r := w.confirm(s); !r.Recorded || r.ExpiresAt != w.now().Add(lifecycle.Day) {
		t.Errorf("after half its time: %+v", r)
	}
}

// TestManyShareAnEntry: however many come, there is no more than an entry in each
// gathering time, and each is told what became of its own.
func TestManyShareAnEntry(t *testing.T) {
	const many = 3000
	w := build(t, lifecycle.ES256)
	w.l.Must(t, &command.UpdateConsumer{Consumer: command.ConsumerRecord{Name: eu, Owner: "deploy", Class: lifecycle.Required, Expect: many, Keys: []lifecycle.KeyID{ci}, Lifetime: lifecycle.Day}})
	w.desks[0].Gather = 100 * time.Millisecond
	s := w.statement(eu, "", nil)
	began := time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, many)
	for n := range many {
		wg.Go(func() {
			mine := s
			mine.Instance = fmt.Sprintf("pod-%d", n)
			if _, err := w.desks[0].Confirm(ctx, mine); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	if n := len(w.l.View().Confirmations(eu)); n != many {
		t.Errorf("%d of %d are recorded", n, many)
	}
	entries := 0
	for _, b := range w.entries {
		if _, ok := b.(*command.RecordConfirmations); ok {
			entries++
		}
	}
	if most := 1 + int(took/w.desks[0].Gather); entries > most {
		t.Errorf("%d entries in %s, at most %d are allowed", entries, took, most)
	}
}

// TestLogThatFails: everybody in the entry hears it, and nothing is kept.
func TestLogThatFails(t *testing.T) {
	w := build(t, lifecycle.ES256)
	s := w.statement(eu, "web-1", nil)
	w.seats[0].fail = func(command.Body) error { return ledger.ErrIndeterminate }
	if _, err := w.desks[0].Confirm(ctx, s); !errors.Is(err, ledger.ErrIndeterminate) {
		t.Errorf("error %v", err)
	}
	w.seats[0].fail = nil
	if r := w.confirm(s); !r.Recorded {
		t.Errorf("receipt %+v", r)
	}
}

func TestConfirmationsLapse(t *testing.T) {
	w := build(t, lifecycle.ES256)
	for _, i := range []string{"web-1", "web-2"} {
		w.confirm(w.statement(eu, i, nil))
	}
	w.desks[0].Keep(ctx)
	w.l.Pass(t, 24*hour)
	w.desks[1].Keep(ctx) // it does not lead
	if r := w.l.View().Confirmation(eu, ci, "web-1"); r.LapsedAt != 0 {
		t.Fatalf("row %+v", r)
	}
	w.desks[0].Keep(ctx)
	for _, r := range w.l.View().Confirmations(eu) {
		if r.LapsedAt == 0 {
			t.Errorf("row %+v", r)
		}
	}
	w.l.Pass(t, 31*24*hour)
	w.desks[0].Keep(ctx)
	if n := len(w.l.View().Confirmations(eu)); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	entries := len(w.entries)
	w.desks[0].Keep(ctx)
	if len(w.entries) != entries {
		t.Error("there was nothing to say, and it was said")
	}
}

func FuzzConfirm(f *testing.F) {
	w := build(f, lifecycle.EdDSA)
	whole := w.statement(eu, "web-1", nil)
	f.Add(eu, "web-1", "ci", whole.Digest, w.kidsOf(1)[0], "x", false)
	f.Add(eu, "web-1", "ci", whole.Digest, "", "", true)
	f.Fuzz(func(t *testing.T, name, instance, key, digest, kid, challenge string, empty bool) {
		w.TB = t
		s := consumer.Statement{Consumer: name, Instance: instance, Key: lifecycle.KeyID(key), Digest: digest, Empty: empty, Challenge: challenge}
		if kid != "" {
			s.KIDs = []string{kid}
		}
		r, err := w.desks[0].Confirm(ctx, s)
		if err != nil {
			return
		}
		row := w.l.View().Confirmation(name, s.Key, instance)
		if row == nil || row.Digest != digest || len(r.Proven) != 0 || digest != w.digestOf(row.KIDs) {
			t.Errorf("%+v was confirmed: %+v", s, row)
		}
	})
}
