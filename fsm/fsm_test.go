package fsm

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// disk is what of a node outlives a restart.
type disk struct {
	dir   string // of the state file
	log   *raft.InmemStore
	snaps *raft.FileSnapshotStore
	where string // of the snapshots
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	base := t.TempDir()
	snaps, err := raft.NewFileSnapshotStore(base, 3, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{dir: t.TempDir(), log: raft.NewInmemStore(), snaps: snaps, where: filepath.Join(base, "snapshots")}
}

func (d *disk) options(t testing.TB) Options {
	return Options{Dir: d.dir, Snapshots: d.snaps, Log: d.log, Logger: quiet,
		Stop: func(err error) { t.Errorf("stopped: %v", err) }}
}

var quiet = slog.New(slog.DiscardHandler)

func start(t testing.TB, o Options) *FSM {
	t.Helper()
	f, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // tests of Close look at its error themselves
	return f
}

// commit puts entries into the log, from index on, as Raft would.
func (d *disk) commit(t testing.TB, index uint64, entries ...[]byte) []*raft.Log {
	t.Helper()
	logs := make([]*raft.Log, len(entries))
	for i, e := range entries {
		logs[i] = &raft.Log{Index: index + uint64(i), Term: 1, Type: raft.LogCommand, Data: e}
	}
	if err := d.log.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	return logs
}

// keep persists a snapshot under an index of Raft's choice.
func (d *disk) keep(t testing.TB, f *FSM, index uint64) {
	t.Helper()
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	_, transport := raft.NewInmemTransport("")
	sink, err := d.snaps.Create(1, index, 1, raft.Configuration{}, 0, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
}

// wait polls until ok, or fails the test.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

type stand struct {
	at     state.Position
	digest [32]byte
}

func standOf(f *FSM) stand {
	at, digest := f.Digest()
	return stand{at, digest}
}

func TestApplyBatchAnswers(t *testing.T) {
	f := start(t, newDisk(t).options(t))
	logs := []*raft.Log{
		{Index: 1, Type: raft.LogConfiguration, Data: []byte("configuration")},
		{Index: 2, Type: raft.LogCommand, Data: fsmtest.Genesis()},
		{Index: 4, Type: raft.LogNoop},
		{Index: 5, Type: raft.LogBarrier},
		{Index: 6, Type: raft.LogCommand, Data: fsmtest.CreateKey(1)},
		{Index: 7, Type: raft.LogCommand, Data: fsmtest.Encode(2, &command.RevokeToken{ID: strings.Repeat("a", 16)})},
		{Index: 8, Type: raft.LogConfiguration, Data: []byte("configuration")},
	}
	changed := f.Changed(7)
	out := f.ApplyBatch(logs)
	if len(out) != len(logs) {
		t.Fatalf("%d answers to %d entries", len(out), len(logs))
	}
	for i, l := range logs {
		o, ok := out[i].(state.Outcome)
		if ok != (l.Type == raft.LogCommand) || ok && o.Index != l.Index {
			t.Errorf("entry %d: %#v", l.Index, out[i])
		}
	}
	if o := out[5].(state.Outcome); o.Code != state.TokenNotFound {
		t.Errorf("%+v", o)
	}
	if f.Position().Index != 8 || f.View().Key(fsmtest.KeyName(1)) == nil {
		t.Errorf("position %+v", f.Position())
	}
	<-changed
	for i, again := range f.ApplyBatch(logs) {
		if again != nil {
			t.Errorf("replay of entry %d answers %v", logs[i].Index, again)
		}
	}
	if o, ok := f.Apply(&raft.Log{Index: 9, Type: raft.LogCommand, Data: fsmtest.CreateKey(3)}).(state.Outcome); !ok || !o.OK() {
		t.Error("Apply of one entry")
	}
	<-f.Verified()
}

// TestCorruptionStops: one report, and nothing is applied, restored or snapshotted
// any more.
func TestCorruptionStops(t *testing.T) {
	var reasons []error
	d := newDisk(t)
	o := d.options(t)
	o.Stop = func(err error) { reasons = append(reasons, err) }
	f := start(t, o)
	f.ApplyBatch(d.commit(t, 1, fsmtest.Script(2)...))
	before := standOf(f)
	for range 2 {
		out := f.ApplyBatch([]*raft.Log{{Index: 4, Data: fsmtest.CreateKey(3)}, {Index: 5, Data: []byte("not one of ours")}})
		for _, answer := range out {
			if err, ok := answer.(error); !ok || !errors.Is(err, ErrStopped) {
				t.Fatalf("answer %v", answer)
			}
		}
	}
	var c *state.Corruption
	if len(reasons) != 1 || !errors.As(reasons[0], &c) || c.Index != 5 || !errors.As(f.Err(), &c) {
		t.Fatalf("reported %v", reasons)
	}
	if standOf(f) != before {
		t.Fatal("something was applied")
	}
	if _, err := f.Snapshot(); !errors.Is(err, ErrStopped) {
		t.Errorf("snapshot: %v", err)
	}
	if err := f.Restore(io.NopCloser(bytes.NewReader(nil))); !errors.Is(err, ErrStopped) {
		t.Errorf("restore: %v", err)
	}
}

// TestAlteredFileStops: the verification after Start finds what was changed while
// the node was down.
func TestAlteredFileStops(t *testing.T) {
	d := newDisk(t)
	f := start(t, d.options(t))
	f.ApplyBatch(d.commit(t, 1, fsmtest.Script(20)...))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.dir, "state.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	leaf := []byte("detail: artifact ES256 for release@example.org") // in the lifecycle log, a cold table
	if !bytes.Contains(b, leaf) {
		t.Fatal("no leaf found to alter")
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, leaf, bytes.Replace(leaf, []byte("org"), []byte("com"), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	o, reasons := d.options(t), make(chan error, 1)
	o.Stop = func(err error) { reasons <- err }
	f = start(t, o)
	var a *store.Altered
	if err := <-reasons; !errors.As(err, &a) || a.What != "log root" {
		t.Fatalf("stopped for %v", err)
	}
	select {
	case <-f.Verified():
		t.Fatal("verified all the same")
	default:
	}
}

// TestAlteredFileGivesNoSnapshot: Persist stops the node and keeps nothing.
func TestAlteredFileGivesNoSnapshot(t *testing.T) {
	d := newDisk(t)
	o, reasons := d.options(t), make(chan error, 1)
	o.Stop = func(err error) { reasons <- err }
	f := start(t, o)
	f.ApplyBatch(d.commit(t, 1, fsmtest.Script(20)...))
	<-f.Verified()
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	file, err := os.OpenFile(filepath.Join(d.dir, "state.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	leaf := []byte("detail: artifact ES256 for release@example.org")
	for at, n := 0, 0; ; at += n + 1 {
		if n = bytes.Index(b[at:], leaf); n < 0 {
			break
		}
		if _, err := file.WriteAt([]byte("X"), int64(at+n+len(leaf)-1)); err != nil {
			t.Fatal(err)
		}
	}
	_, transport := raft.NewInmemTransport("")
	sink, err := d.snaps.Create(1, 21, 1, raft.Configuration{}, 0, transport)
	if err != nil {
		t.Fatal(err)
	}
	var a *store.Altered
	if err := snap.Persist(sink); !errors.As(err, &a) {
		t.Fatal(err)
	}
	if err := <-reasons; !errors.As(err, &a) {
		t.Fatal(err)
	}
	if list, err := d.snaps.List(); err != nil || len(list) != 0 {
		t.Fatalf("kept: %v, %v", list, err)
	}
}

// TestAnnounce: what an operator reads, and what a supervisor gets.
func TestAnnounce(t *testing.T) {
	for _, c := range []struct {
		reason error
		code   int
		words  []string
	}{
		{&state.Corruption{Index: 7, Err: command.ErrUnknownKind}, ExitUntrusted, []string{"index=7", "chancery node rebuild", "upgrade"}},
		{&state.Divergence{Index: 7, What: "log root", Mine: "aa", Ours: "bb"}, ExitUntrusted, []string{"index=7", `kind="log root"`, "mine=aa", "majority=bb", "chancery node rebuild"}},
		{&store.Altered{Index: 7, What: "state digest", Err: io.EOF}, ExitUntrusted, []string{"index=7", `kind="state digest"`, "chancery node rebuild"}},
		{store.ErrStorage, ExitStorage, []string{"disk", "free space"}},
	} {
		var b bytes.Buffer
		if code := announce(slog.New(slog.NewTextHandler(&b, nil)), c.reason); code != c.code {
			t.Errorf("%v: exit code %d", c.reason, code)
		}
		for _, w := range c.words {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%v: %q is missing in %s", c.reason, w, b.String())
			}
		}
	}
}

const childDir = "CHANCERY_TEST_FSM_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	snaps, err := raft.NewFileSnapshotStore(dir, 1, io.Discard)
	if err != nil {
		panic(err)
	}
	f, err := Start(Options{Dir: dir, Snapshots: snaps, Log: raft.NewInmemStore(),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}) // Stop is the default
	if err != nil {
		panic(err)
	}
	f.Apply(&raft.Log{Index: 1, Data: fsmtest.Genesis()})
	f.Apply(&raft.Log{Index: 2, Data: []byte("flipped")})
	os.Exit(0) // not reached: the default Stop does not return
}

// TestDefaultStopExits lets a real process meet a corrupt entry.
func TestDefaultStopExits(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != ExitUntrusted || !bytes.Contains(out, []byte("run: chancery node rebuild")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// markAndRecord are two entries that state a wrong digest for everybody.
func markAndRecord(f *FSM, index uint64) [][]byte {
	return [][]byte{fsmtest.Encode(90, &command.RecordCheckpoint{MarkIndex: index, LogSize: f.View().Mark().LogSize,
		Root: f.View().Mark().Root, Digest: make([]byte, 32), Voters: []lifecycle.NodeID{fsmtest.NodeID}})}
}

func TestDivergenceStops(t *testing.T) {
	d := newDisk(t)
	o, reasons := d.options(t), make(chan error, 1)
	o.Stop = func(err error) { reasons <- err }
	f := start(t, o)
	f.ApplyBatch(d.commit(t, 1, fsmtest.Genesis(), fsmtest.CreateKey(1), fsmtest.Encode(80, &command.MarkCheckpoint{})))
	f.ApplyBatch(d.commit(t, 4, markAndRecord(f, 3)...))
	var div *state.Divergence
	if err := <-reasons; !errors.As(err, &div) || div.Index != 3 || div.Mine == div.Ours {
		t.Fatal(err)
	}
}
