package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// stopped collects what a Fatal hook is told.
type stopped struct{ reasons []error }

func (s *stopped) fatal(reason error) { s.reasons = append(s.reasons, reason) }

func openStore(t testing.TB, path string) (*LogStore, *stopped) {
	t.Helper()
	stop := &stopped{}
	s, err := OpenLogStore(path, LogStoreOptions{Fatal: stop.fatal, CacheEntries: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, stop
}

func entries(from, to uint64) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		data := binary.BigEndian.AppendUint64([]byte("command "), i)
		logs = append(logs, &raft.Log{Index: i, Term: 1 + i/10, Type: raft.LogType(i % 2), Data: data, AppendedAt: time.Now()})
	}
	return logs
}

// TestLeaderSealsInPlace is the assumption on raft.dispatchLogs: the struct that
// was stored, applied and replicated carries the digest afterwards.
func TestLeaderSealsInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, stop := openStore(t, path)
	logs := entries(1, 20)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := checkEntry(l); err != nil {
			t.Fatalf("not sealed in place: %v", err)
		}
	}
	// A follower stores the received structs as they are.
	follower, _ := openStore(t, filepath.Join(t.TempDir(), "log.db"))
	if err := follower.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s, _ = openStore(t, path)
	for _, store := range []*LogStore{s, follower} {
		for _, want := range logs {
			var got raft.Log
			if err := store.GetLog(want.Index, &got); err != nil {
				t.Fatal(err)
			}
			if got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) || !got.AppendedAt.Equal(want.AppendedAt) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		if n, err := store.Scan(0); n != 20 || err != nil {
			t.Fatalf("Scan = %d, %v", n, err)
		}
	}
	if len(stop.reasons) != 0 {
		t.Fatal(stop.reasons)
	}
	if err := s.GetLog(21, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Fatalf("raft compares with ==: %v", err)
	}
	if s.IsMonotonic() {
		t.Fatal("raft-boltdb is not monotonic")
	}
}

// TestDigestGolden freezes the rule: stored logs depend on it.
func TestDigestGolden(t *testing.T) {
	sum := entryDigest(&raft.Log{Index: 7, Term: 3, Type: raft.LogCommand, Data: []byte("data"), AppendedAt: time.Unix(1700000000, 42)})
	const want = "19e112500d2136bd1ea997f78c9d3866a6dfbd21e1f991cdbde20c3cd39db729"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Fatalf("digest %s, want %s: entries in existing logs would be refused", got, want)
	}
}

func TestReceivedEntryIsChecked(t *testing.T) {
	changes := map[string]struct {
		change func(*raft.Log)
		want   error
	}{
		"index":      {func(l *raft.Log) { l.Index++ }, ErrEntryDigest},
		"term":       {func(l *raft.Log) { l.Term-- }, ErrEntryDigest},
		"type":       {func(l *raft.Log) { l.Type = raft.LogConfiguration }, ErrEntryDigest},
		"data":       {func(l *raft.Log) { l.Data = []byte("other") }, ErrEntryDigest},
		"time":       {func(l *raft.Log) { l.AppendedAt = l.AppendedAt.Add(1) }, ErrEntryDigest},
		"digest":     {func(l *raft.Log) { l.Extensions[9] ^= 1 }, ErrEntryDigest},
		"version":    {func(l *raft.Log) { l.Extensions[0] = 2 }, ErrNoDigest},
		"cut digest": {func(l *raft.Log) { l.Extensions = l.Extensions[:32] }, ErrNoDigest},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			s, stop := openStore(t, filepath.Join(t.TempDir(), "log.db"))
			l := entries(5, 5)[0]
			seal(l)
			c.change(l)
			if err := s.StoreLog(l); !errors.Is(err, c.want) || !errors.Is(err, ErrBroken) {
				t.Fatalf("StoreLog: %v, want %v", err, c.want)
			}
			if len(stop.reasons) != 1 || !strings.Contains(stop.reasons[0].Error(), "chancery node rebuild") {
				t.Fatalf("the operator is told %v", stop.reasons)
			}
			if c.want == ErrEntryDigest {
				sum := entryDigest(l)
				for _, digest := range [][]byte{sum[:], l.Extensions[1:]} {
					if !strings.Contains(stop.reasons[0].Error(), hex.EncodeToString(digest)) {
						t.Errorf("%v lacks digest %x", stop.reasons[0], digest)
					}
				}
			}
			// Nothing gets through afterwards.
			if err := s.StoreLogs(entries(6, 6)); !errors.Is(err, ErrBroken) {
				t.Errorf("store after damage: %v", err)
			}
			if _, err := s.LastIndex(); !errors.Is(err, ErrBroken) {
				t.Errorf("read after damage: %v", err)
			}
			if len(stop.reasons) != 1 {
				t.Errorf("stopped %d times", len(stop.reasons))
			}
		})
	}
}

// TestEveryStoredBit flips each bit of an entry as raft-boltdb encodes it: either it
// is noticed, or what raft gets is unchanged.
func TestEveryStoredBit(t *testing.T) {
	l := entries(300, 300)[0]
	l.Data = bytes.Repeat([]byte("0123456789abcdef"), 20)
	seal(l)
	var encoded bytes.Buffer
	if err := codec.NewEncoder(&encoded, &codec.MsgpackHandle{}).Encode(l); err != nil {
		t.Fatal(err)
	}
	caught := 0
	for bit := range 8 * encoded.Len() {
		flipped := bytes.Clone(encoded.Bytes())
		flipped[bit/8] ^= 1 << (bit % 8)
		var got raft.Log
		if codec.NewDecoder(bytes.NewBuffer(flipped), &codec.MsgpackHandle{}).Decode(&got) != nil || got.Index != l.Index || checkEntry(&got) != nil {
			caught++
			continue
		}
		if got.Term != l.Term || got.Type != l.Type || !bytes.Equal(got.Data, l.Data) || !got.AppendedAt.Equal(l.AppendedAt) {
			t.Fatalf("bit %d changed the entry unnoticed: %+v", bit, got)
		}
	}
	if caught < 8*encoded.Len()*95/100 { // the rest spell the same values otherwise
		t.Errorf("only %d of %d flips were caught", caught, 8*encoded.Len())
	}
}

// edit changes the closed file through bbolt.
func edit(t *testing.T, path, bucket string, change func(*bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucket))) }); err != nil {
		t.Fatal(err)
	}
}

func key(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

func TestStoredDamageStops(t *testing.T) {
	cases := map[string]struct {
		change   func(*bbolt.Bucket) error
		snapshot uint64
		want     string // "" when Scan must succeed
	}{
		"entry moved":          {func(b *bbolt.Bucket) error { return b.Put(key(5), bytes.Clone(b.Get(key(6)))) }, 0, "says index 6"},
		"entry cut":            {func(b *bbolt.Bucket) error { v := b.Get(key(5)); return b.Put(key(5), v[:len(v)/2]) }, 0, "index 5"},
		"entry empty":          {func(b *bbolt.Bucket) error { return b.Put(key(5), nil) }, 0, "index 5"},
		"digest stripped":      {func(b *bbolt.Bucket) error { return b.Put(key(5), plain(5)) }, 0, "no digest"},
		"entry gone":           {func(b *bbolt.Bucket) error { return b.Delete(key(5)) }, 0, "is missing"},
		"first entry gone":     {func(b *bbolt.Bucket) error { return b.Delete(key(1)) }, 0, "index 1: raft entry is missing"},
		"gap after snapshot":   {func(b *bbolt.Bucket) error { return b.Delete(key(5)) }, 4, "is missing"},
		"gap before snapshot":  {func(b *bbolt.Bucket) error { return b.Delete(key(5)) }, 5, ""},
		"snapshot past log":    {func(b *bbolt.Bucket) error { return b.Delete(key(5)) }, 50, ""},
		"compacted log":        {func(b *bbolt.Bucket) error { return errors.Join(b.Delete(key(1)), b.Delete(key(2))) }, 2, ""},
		"compacted too far":    {func(b *bbolt.Bucket) error { return errors.Join(b.Delete(key(1)), b.Delete(key(2))) }, 1, "is missing"},
		"damage in old entry":  {func(b *bbolt.Bucket) error { return b.Put(key(1), plain(1)) }, 8, "no digest"},
		"nothing wrong at all": {func(b *bbolt.Bucket) error { return nil }, 0, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log.db")
			s, _ := openStore(t, path)
			if err := s.StoreLogs(entries(1, 10)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			edit(t, path, "logs", c.change)
			s, stop := openStore(t, path)
			_, err := s.Scan(c.snapshot)
			if c.want == "" {
				if err != nil || len(stop.reasons) != 0 {
					t.Fatalf("Scan: %v %v", err, stop.reasons)
				}
				return
			}
			if err == nil || len(stop.reasons) != 1 || !strings.Contains(stop.reasons[0].Error(), c.want) {
				t.Fatalf("Scan: %v, told %v, want %q", err, stop.reasons, c.want)
			}
		})
	}
}

// plain is entry i as a store without our wrapper would have left it.
func plain(i uint64) []byte {
	var b bytes.Buffer
	if err := codec.NewEncoder(&b, &codec.MsgpackHandle{}).Encode(entries(i, i)[0]); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// TestFileBits flips bits in the stored entries of a real file: every one is
// noticed or harmless, and the process lives to say so.
func TestFileBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, _ := openStore(t, path)
	want := entries(1, 20)
	if err := s.StoreLogs(want); err != nil {
		t.Fatal(err)
	}
	s.Close()
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sound = sound[:(len(bytes.TrimRight(sound, "\x00"))+4095)/4096*4096] // bbolt grows the file ahead
	start, end := bytes.Index(sound, want[0].Data), bytes.LastIndex(sound, want[19].Data)
	if start < 0 || end < start {
		t.Fatal("the entries are not where they should be")
	}
	random := rand.New(rand.NewPCG(1, 2))
	noticed := 0
	for range 100 {
		bit := 8*start + random.IntN(8*(end-start))
		flipped := bytes.Clone(sound)
		flipped[bit/8] ^= 1 << (bit % 8)
		damaged := filepath.Join(t.TempDir(), "log.db")
		if err := os.WriteFile(damaged, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		stop := &stopped{}
		s, err := OpenLogStore(damaged, LogStoreOptions{Fatal: stop.fatal})
		if err != nil {
			noticed++
			continue
		}
		if _, err := s.Scan(0); err != nil {
			noticed++
			s.Close()
			continue
		}
		for _, w := range want {
			var got raft.Log
			if err := s.GetLog(w.Index, &got); err != nil || got.Term != w.Term || !bytes.Equal(got.Data, w.Data) {
				t.Fatalf("bit %d: entry %d changed unnoticed: %v", bit, w.Index, err)
			}
		}
		s.Close()
	}
	if noticed < 90 {
		t.Errorf("only %d of 100 flips were noticed", noticed)
	}
}

func TestStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, _ := openStore(t, path)
	if _, err := s.Get([]byte("LastVoteCand")); err == nil || err.Error() != "not found" {
		t.Fatalf("raft compares the text: %v", err)
	}
	if _, err := s.GetUint64([]byte("CurrentTerm")); err == nil || err.Error() != "not found" {
		t.Fatalf("raft compares the text: %v", err)
	}
	for _, v := range []string{"node-1", "", strings.Repeat("x", 300)} {
		if err := s.Set([]byte("LastVoteCand"), []byte(v)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get([]byte("LastVoteCand")); err != nil || string(got) != v {
			t.Fatalf("Get = %q, %v", got, err)
		}
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 1<<40); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s, _ = openStore(t, path)
	if term, err := s.GetUint64([]byte("CurrentTerm")); term != 1<<40 || err != nil {
		t.Fatalf("term %d, %v", term, err)
	}
	s.Close()
	for _, stored := range [][]byte{nil, []byte("short"), append(key(1<<41), stableSum([]byte("CurrentTerm"), key(1<<40))...), append(key(2), stableSum([]byte("LastVoteTerm"), key(2))...), append([]byte("abc"), stableSum([]byte("CurrentTerm"), []byte("abc"))...)} {
		edit(t, path, "conf", func(b *bbolt.Bucket) error { return b.Put([]byte("CurrentTerm"), stored) })
		s, stop := openStore(t, path)
		if term, err := s.GetUint64([]byte("CurrentTerm")); !errors.Is(err, ErrStableDigest) || len(stop.reasons) != 1 {
			t.Errorf("stored %x: term %d, %v, %v", stored, term, err, stop.reasons)
		}
		s.Close()
	}
}

func TestSecondOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	openStore(t, path)
	if _, err := OpenLogStore(path, LogStoreOptions{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second open: %v", err)
	}
}

func TestClosedIsNotDamage(t *testing.T) {
	s, stop := openStore(t, filepath.Join(t.TempDir(), "log.db"))
	s.Close()
	if _, err := s.LastIndex(); err == nil {
		t.Error("read from a closed store")
	}
	if err := s.StoreLogs(entries(1, 1)); err == nil {
		t.Error("wrote to a closed store")
	}
	if len(stop.reasons) != 0 {
		t.Errorf("shutting down was taken for damage: %v", stop.reasons)
	}
}

func BenchmarkStoreLogs(b *testing.B) {
	s, _ := openStore(b, filepath.Join(b.TempDir(), "log.db"))
	for i := uint64(1); b.Loop(); i++ {
		if err := s.StoreLogs(entries(i, i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealAndCheck256(b *testing.B) {
	l := &raft.Log{Index: 1, Term: 1, Data: make([]byte, 256), AppendedAt: time.Now()}
	for b.Loop() {
		seal(l)
		if err := checkEntry(l); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenAndScan is what a start with 100,000 entries pays for the check.
func BenchmarkOpenAndScan(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log.db")
	s, _ := openStore(b, path)
	for i := uint64(1); i < 100_000; i += 5000 {
		if err := s.StoreLogs(entries(i, i+4999)); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	for b.Loop() {
		s, _ := openStore(b, path)
		if n, err := s.Scan(0); n != 100_000 || err != nil {
			b.Fatal(n, err)
		}
		s.Close()
	}
}
