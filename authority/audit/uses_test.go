package audit

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func signRecord(kind Kind, kid, request string) Record {
	return Record{Kind: kind, Key: "ci", Version: 1, KID: kid, RequestID: request, Allowed: kind != SignRefused, Digest: "aa"}
}

func TestUsesAreCountedWhenTheyAreOnDisk(t *testing.T) {
	j := open(t, t.TempDir(), Options{FlushDelay: time.Millisecond})
	appendN(t, j, 1)
	if _, err := j.AppendBatch(t.Context(), []Record{signRecord(SignIntent, "k1", "r1"), signRecord(SignIntent, "k1", "r2"), signRecord(SignIntent, "k2", "r3")}); err != nil {
		t.Fatal(err)
	}
	since, head, uses := j.Uses()
	if since.Seq != 0 || head.Seq != 4 || len(uses) != 2 {
		t.Fatalf("%+v %+v %+v", since, head, uses)
	}
	if u := j.UseOf("k1"); u.Intents != 2 || u.Open() != 2 || u.Released != 0 || u.Key != "ci" || u.Version != 1 || u.LastAt.IsZero() {
		t.Errorf("%+v", u)
	}
	for _, r := range []Record{signRecord(SignReleased, "k1", "r1"), signRecord(SignRefused, "k1", "r2"), signRecord(SignRefused, "", "r4")} {
		if err := j.AppendAsync(r); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "outcomes on disk", func() bool { _, head, _ := j.Uses(); return head.Seq == 7 })
	if u := j.UseOf("k1"); u.Released != 1 || u.Refused != 1 || u.Open() != 0 {
		t.Errorf("%+v", u)
	}
	if u := j.UseOf("k3"); u != (Use{KID: "k3"}) {
		t.Errorf("%+v", u)
	}
}

// TestUsesSayNothingOfWhatFailed: what is not on the disk is not counted.
func TestUsesSayNothingOfWhatFailed(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.AppendBatch(ctx, []Record{signRecord(SignIntent, "k1", "r1")}); err == nil {
		t.Fatal("appended")
	}
	if _, head, uses := j.Uses(); head.Seq != 0 || len(uses) != 0 {
		t.Errorf("%+v %+v", head, uses)
	}
}

func TestQuerySincePassesOverOldSegments(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return at }
	j := open(t, dir, Options{SegmentBytes: 1, Clock: clock})
	for range 10 { // each record is a segment of its own
		appendN(t, j, 1)
		at = at.Add(time.Hour)
	}
	since := at.Add(-3 * time.Hour)
	var seqs []uint64
	for e, err := range j.Query(Filter{Since: since}) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	if fmt.Sprint(seqs) != "[8 9 10]" {
		t.Errorf("%v", seqs)
	}
	list, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := sinceSegments(dir, list, since)
	if err != nil || len(kept) >= len(list)-4 {
		t.Errorf("%d of %d segments are read, %v", len(kept), len(list), err)
	}
}

// BenchmarkUse is what counting costs a signature: one intent and one outcome.
func BenchmarkUse(b *testing.B) {
	j := &Journal{uses: map[string]*Use{}}
	kid := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	w := []*waiter{{uses: []use{{kind: SignIntent, kid: kid, at: time.Now()}, {kind: SignReleased, kid: kid}}}}
	for b.Loop() {
		j.count(w)
	}
}
