package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func seqs(t *testing.T, found iter.Seq2[Entry, error]) []uint64 {
	t.Helper()
	out := []uint64{}
	for e, err := range found {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Seq)
	}
	return out
}

func TestQueryFilters(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{SegmentBytes: 1500})
	for i := range 12 {
		r := Record{
			At: instant.Add(time.Duration(i) * time.Minute), Kind: Decision, Key: fmt.Sprintf("k%d", i%2),
			Version: uint64(i%3 + 1), KID: fmt.Sprintf("kid%d", i%4), Principal: fmt.Sprintf("p%d", i%6),
		}
		if _, err := j.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	at := func(minute int) time.Time {
		return instant.Truncate(time.Millisecond).Add(time.Duration(minute) * time.Minute)
	}
	for name, c := range map[string]struct {
		filter Filter
		want   []uint64
	}{
		"all":       {Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		"key":       {Filter{Key: "k1"}, []uint64{2, 4, 6, 8, 10, 12}},
		"version":   {Filter{Version: 3}, []uint64{3, 6, 9, 12}},
		"kid":       {Filter{KID: "kid0"}, []uint64{1, 5, 9}},
		"principal": {Filter{Principal: "p5"}, []uint64{6, 12}},
		"both":      {Filter{Key: "k0", Version: 1}, []uint64{1, 7}},
		"node":      {Filter{Node: "n1", Limit: 2}, []uint64{1, 2}},
		"no node":   {Filter{Node: "n2"}, []uint64{}},
		"since":     {Filter{Since: at(9)}, []uint64{10, 11, 12}},
		"until":     {Filter{Until: at(2)}, []uint64{1, 2}},
		"window":    {Filter{Since: at(3), Until: at(5)}, []uint64{4, 5}},
		"after":     {Filter{AfterSeq: 10}, []uint64{11, 12}},
		"page":      {Filter{AfterSeq: 4, Limit: 3}, []uint64{5, 6, 7}},
		"past end":  {Filter{AfterSeq: 99}, []uint64{}},
	} {
		if got := seqs(t, j.Query(c.filter)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v from the journal, want %v", name, got, c.want)
		}
		if got := seqs(t, Query(dir, c.filter)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v from the directory, want %v", name, got, c.want)
		}
	}
}

// TestExportedEntryIsTheStoredLine: what MarshalJSON gives still carries a hash
// that anyone can check.
func TestExportedEntryIsTheStoredLine(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	r := fullRecord()
	r.Detail = "bidi \u202e \"quoted\" \x1b"
	if _, err := j.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for e, err := range j.Query(Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := parseLine(line, nil)
		if err != nil || back.Record != e.Record || back.Hash != e.Hash {
			t.Errorf("%s: %+v, %v", line, back, err)
		}
	}
}

// TestQueryBeginsAtTheSegment: records before AfterSeq are not even read.
func TestQueryBeginsAtTheSegment(t *testing.T) {
	dir := t.TempDir()
	_, list := written(t, dir, 9, 800)
	if err := os.WriteFile(filepath.Join(dir, list[0].name), []byte("not a journal\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	after := list[1].firstSeq - 1
	if got := seqs(t, Query(dir, Filter{AfterSeq: after})); len(got) != int(9-after) {
		t.Errorf("found %v", got)
	}
	var last error
	for _, err := range Query(dir, Filter{}) {
		last = err
	}
	if !errors.Is(last, ErrBroken) {
		t.Errorf("reading the broken segment: %v", last)
	}
}

func TestQueryOfLiveJournalEndsAtItsHead(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	if got := seqs(t, j.Query(Filter{})); len(got) != 0 {
		t.Errorf("an empty journal has %v", got)
	}
	appendN(t, j, 5)
	n := 0
	for e, err := range j.Query(Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Seq == 3 {
			appendN(t, j, 2) // the reader does not hold the writer back, nor follow it
		}
	}
	if n != 5 {
		t.Errorf("%d records", n)
	}
	for range j.Query(Filter{}) {
		break // leaving early must not panic
	}
	if got := seqs(t, j.Query(Filter{})); len(got) != 7 {
		t.Errorf("a new query has %v", got)
	}
}

// Whoever was refused looks for it at once, and finds it; a journal that has nothing new
// is not synced for a reader, and one that was closed still shows what it has.
func TestQueryFindsWhatWaitsForASync(t *testing.T) {
	d := &tapDisk{}
	j := open(t, t.TempDir(), Options{disk: d, FlushDelay: time.Hour})
	if err := j.AppendAsync(Record{Kind: SignRefused, Key: "k"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := seqs(t, j.Query(Filter{})); fmt.Sprint(got) != "[1]" {
			t.Fatalf("found %v", got)
		}
	}
	if _, syncs := d.counts(); syncs != 1 {
		t.Errorf("%d syncs for one record", syncs)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := seqs(t, j.Query(Filter{})); fmt.Sprint(got) != "[1]" {
		t.Errorf("after its end: %v", got)
	}
}

func TestQueryReportsAMissingDirectory(t *testing.T) {
	n := 0
	for _, err := range Query(filepath.Join(t.TempDir(), "missing"), Filter{}) {
		n++
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d results", n)
	}
}
