package evidence_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.sign("r1", "bob", true)
	since := w.l.Clock().Now()
	w.sign("r2", "bob", true)
	w.sign("r3", "carol", true)
	w.sign("r4", "bob", false)
	w.intent("r5", "carol")
	a := w.search(evidence.Ask{Limit: 1, Summary: true, Since: since})
	if a.Released != 2 || a.Open != 1 || len(a.Entries) != 1 || a.Entries[0].RequestID != "r2" || a.Next != a.Entries[0].Seq || a.Cut != "" || a.Rewritten != "" || a.FirstSeq != 1 {
		t.Fatalf("%+v", a)
	}
	if len(a.OpenUses) != 1 || a.OpenUses[0].RequestID != "r5" || fmt.Sprint(a.Callers) != "[{bob 1 0} {carol 1 1}]" {
		t.Errorf("%+v", a)
	}
	if e := a.Entries[0]; e.Caller != "bob" || e.Digest != "abcd" || e.KID != kid(0) || e.Version != 1 || e.Node != w.nodes[0] || e.Hash == "" {
		t.Errorf("%+v", e)
	}
	if a = w.search(evidence.Ask{Limit: 5, Since: since, AfterSeq: a.Next}); len(a.Entries) != 1 || a.Entries[0].RequestID != "r3" || a.Next != 0 || a.Released != 0 {
		t.Errorf("%+v", a)
	}
	if a = w.search(evidence.Ask{Limit: 5, Summary: true, Until: since}); a.Released != 1 || a.Open != 0 || a.Entries[0].RequestID != "r1" {
		t.Errorf("%+v", a)
	}
	if a = w.search(evidence.Ask{Limit: 5, Summary: true, Version: 2}); a.Released != 0 || len(a.Entries) != 0 {
		t.Errorf("%+v", a)
	}
	for _, bad := range []evidence.Ask{{Key: "../etc", Limit: 1}, {Key: "ci", Limit: evidence.MaxEntries + 1}} {
		if _, err := evidence.Search(t.Context(), w.j, w.nodes[0], bad, since); err == nil {
			t.Errorf("%+v was answered", bad)
		}
	}
}

// TestCompleteness walks through what can be known of a node.
func TestCompleteness(t *testing.T) {
	w := newWorld(t)
	w.sign("r1", "bob", true)
	w.wantCount(1, 0)
	node := func(r evidence.Report, id lifecycle.NodeID) evidence.NodeReport {
		t.Helper()
		for _, n := range r.Nodes {
			if n.ID == id {
				return n
			}
		}
		t.Fatal("the node is missing")
		return evidence.NodeReport{}
	}
	r := w.collect(evidence.Ask{Limit: 10}, "", silent)
	if !r.Complete || r.Released != 1 || len(r.Entries) != 1 || fmt.Sprint(r.Callers) != "[{bob 1 0}]" {
		t.Fatalf("%+v", r)
	}
	r = w.collect(evidence.Ask{Limit: 10}, "", down)
	if n := node(r, w.nodes[1]); r.Complete || n.State != evidence.Unreachable || n.KnownAt != 0 || !strings.Contains(n.Why, "never reported") {
		t.Errorf("%+v", n)
	}
	at := w.l.Clock().At()
	w.l.Must(t, &command.ReportTally{Node: w.nodes[1], Seq: 9, Hash: make([]byte, 32), At: at, Items: []command.TallyItem{{Key: ci, Version: 1, KID: kid(1), Released: 7, Open: 1, LastAt: at}}})
	r = w.collect(evidence.Ask{Limit: 10}, "", down)
	if n := node(r, w.nodes[1]); n.State != evidence.Unreachable || n.KnownAt != at || n.Tallied != 7 || n.TalliedOpen != 1 {
		t.Errorf("%+v", n)
	}
	// It answers, and its ledger is shorter than what it reported.
	r = w.collect(evidence.Ask{Limit: 10}, "", func(evidence.Ask) (evidence.Answer, error) {
		return evidence.Answer{FirstSeq: 1, HeadSeq: 5, Released: 3}, nil
	})
	if n := node(r, w.nodes[1]); n.State != evidence.Partial || n.Missing != 4 || !strings.Contains(n.Why, "cut off") {
		t.Errorf("%+v", n)
	}
	for why, a := range map[string]evidence.Answer{
		"ledger begins at": {FirstSeq: 3, FirstAt: w.l.Clock().Now(), HeadSeq: 9, Released: 7}, "does not hold": {FirstSeq: 1, HeadSeq: 9, Released: 7, Rewritten: "line 3"},
		"later --since": {FirstSeq: 1, HeadSeq: 9, Cut: "ask with a later --since"}} {
		r = w.collect(evidence.Ask{Limit: 10}, "", func(evidence.Ask) (evidence.Answer, error) { return a, nil })
		if n := node(r, w.nodes[1]); r.Complete || n.State != evidence.Partial || !strings.Contains(n.Why, why) {
			t.Errorf("%s: %+v", why, n)
		}
	}
	w.l.Must(t, &command.SetNodeStatus{ID: w.nodes[1], Status: lifecycle.Quarantined, Reason: "lost"})
	w.l.Must(t, &command.SetNodeStatus{ID: w.nodes[1], Status: lifecycle.Removed, Reason: "lost", Lost: true})
	r = w.collect(evidence.Ask{Limit: 10}, "", func(evidence.Ask) (evidence.Answer, error) {
		t.Error("a removed node was asked")
		return evidence.Answer{}, nil
	})
	if n := node(r, w.nodes[1]); r.Complete || n.State != evidence.Removed || n.KnownAt != at || n.Tallied != 7 {
		t.Errorf("%+v", n)
	}
}

// TestPages: pages of two ledgers give every signature once, in order.
func TestPages(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.sign(fmt.Sprint("r", i), "bob", true)
	}
	begun := w.l.Clock().Now().Add(-7 * time.Second)
	var other []evidence.Entry
	for i := range 6 {
		other = append(other, evidence.Entry{Seq: uint64(i + 1), Node: w.nodes[1], At: begun.Add(time.Duration(i)*1100*time.Millisecond + time.Millisecond), RequestID: fmt.Sprint("o", i)})
	}
	answer := func(ask evidence.Ask) (evidence.Answer, error) {
		a := evidence.Answer{FirstSeq: 1, HeadSeq: 6}
		for _, e := range other {
			if e.Seq <= ask.AfterSeq {
				continue
			}
			if len(a.Entries) == ask.Limit {
				a.Next = a.Entries[ask.Limit-1].Seq
				break
			}
			a.Entries = append(a.Entries, e)
		}
		return a, nil
	}
	for limit := 1; limit < 15; limit++ {
		var got []string
		last, cursor := time.Time{}, ""
		for page := 0; page < 20; page++ {
			r := w.collect(evidence.Ask{Limit: limit}, cursor, answer)
			for _, e := range r.Entries {
				got = append(got, e.RequestID)
				if e.At.Before(last) {
					t.Errorf("pages of %d: %s is out of order", limit, e.RequestID)
				}
				last = e.At
			}
			if cursor = r.Next; cursor == "" {
				break
			}
		}
		if want := "[r0 o0 r1 o1 r2 o2 r3 o3 r4 o4 r5 o5 r6]"; fmt.Sprint(got) != want {
			t.Errorf("pages of %d: %v", limit, got)
		}
	}
	for _, bad := range []string{"x", "x.1", string(w.nodes[0]) + ".-1", string(w.nodes[0])} {
		if _, err := evidence.Collect(t.Context(), w.l.View(), nil, evidence.Ask{Key: "ci"}, bad); err == nil {
			t.Errorf("cursor %q", bad)
		}
	}
}
