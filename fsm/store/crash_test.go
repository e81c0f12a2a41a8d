package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/fsmtest"
)

// copyDir makes what a kill would leave: everything that was written, whether
// synced or not, because the page cache outlives the process.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestKilledWhileApplying looks at the directory at each step of a batch.
func TestKilledWhileApplying(t *testing.T) {
	script := fsmtest.Script(9)
	want := stands(t, script)
	left := map[string]string{} // step -> directory as it was
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:5]))
	s.opts.crash = func(step string) error {
		left[step] = copyDir(t, dir)
		return nil
	}
	apply(t, s, batch(6, script[5:]))
	for step, index := range map[string]int{"apply: begin": 5, "apply: commit": 5, "apply: publish": 10} {
		again := open(t, left[step], Options{})
		if got := standOf(t, again); got != want[index] {
			t.Fatalf("killed at %q: reopened at %d", step, got.at.Index)
		}
		apply(t, again, batch(1, script)) // Raft replays
		if standOf(t, again) != want[10] {
			t.Fatalf("killed at %q: the replay leads elsewhere", step)
		}
	}
}

// TestKilledWhileRestoring finds the old state or the new one, whole.
func TestKilledWhileRestoring(t *testing.T) {
	script := fsmtest.Script(9)
	want, snap := stands(t, script), taken(t, script)
	left := map[string]string{}
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:3]))
	s.opts.crash = func(step string) error {
		left[step] = copyDir(t, dir)
		return nil
	}
	// In the middle of loading too, by a reader that looks away.
	half := &stepReader{from: bytes.NewReader(snap), at: len(snap) / 2, step: func() { left["half read"] = copyDir(t, dir) }}
	if _, replaced, err := s.Restore(half); err != nil || !replaced {
		t.Fatal(err)
	}
	for step, index := range map[string]int{"restore: load": 3, "half read": 3, "restore: sync": 3, "restore: rename": 3, "restore: sync directory": 10} {
		again := open(t, left[step], Options{})
		if got := standOf(t, again); got != want[index] {
			t.Fatalf("killed at %q: reopened at %d", step, got.at.Index)
		}
		if _, err := os.Stat(again.path(newName)); !os.IsNotExist(err) {
			t.Fatalf("killed at %q: the new file is left lying about", step)
		}
		if _, replaced, err := again.Restore(bytes.NewReader(snap)); err != nil || replaced != (index == 3) {
			t.Fatalf("killed at %q: restored again: %v, %v", step, replaced, err)
		}
		if standOf(t, again) != want[10] {
			t.Fatalf("killed at %q: the second restore leads elsewhere", step)
		}
	}
	if len(left) != 5 {
		t.Fatalf("steps seen: %v", left)
	}
}

type stepReader struct {
	from io.Reader
	at   int
	step func()
}

func (r *stepReader) Read(p []byte) (int, error) {
	if r.step != nil && r.at <= 0 {
		r.step()
		r.step = nil
	}
	n, err := r.from.Read(p[:min(len(p), 512)])
	r.at -= n
	return n, err
}

// TestFailedStepsOfRestore: an error at a step, instead of a kill, leaves the old
// state in use; after the rename the Store ends, because its file has lost its name.
func TestFailedStepsOfRestore(t *testing.T) {
	script := fsmtest.Script(4)
	want, snap := stands(t, script), taken(t, script)
	for _, step := range []string{"restore: load", "restore: sync", "restore: rename", "restore: sync directory"} {
		dir := t.TempDir()
		s := open(t, dir, Options{crash: func(at string) error {
			if at == step {
				return syscall.EIO
			}
			return nil
		}})
		apply(t, s, batch(1, script[:2]))
		if _, _, err := s.Restore(bytes.NewReader(snap)); err == nil {
			t.Fatalf("%s: no error", step)
		}
		if standOf(t, s) != want[2] {
			t.Fatalf("%s: the old state is not in use", step)
		}
		_, err := s.ApplyBatch(batch(3, script[2:]))
		if ended := err != nil; ended != (step == "restore: sync directory") {
			t.Fatalf("%s: applying on: %v", step, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := standOf(t, open(t, dir, Options{})); got != want[5] {
			t.Fatalf("%s: reopened at %d", step, got.at.Index)
		}
	}
}

// The child process of the two tests below: it applies and restores until it is
// killed, by itself at a named step or by its parent at any moment.
const (
	childDir  = "CHANCERY_TEST_STORE_DIR"
	childStep = "CHANCERY_TEST_STORE_STEP" // "step n": SIGKILL at the n-th time; "" = wait for the parent
	childKeys = 3000
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir, os.Getenv(childStep))
		return
	}
	code := m.Run()
	if manyDir != "" {
		_ = os.RemoveAll(manyDir) // scratch of the benchmarks
	}
	os.Exit(code)
}

func child(dir, at string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	seen := map[string]int{}
	s, err := Open(dir, Options{Fatal: fail, crash: func(step string) error {
		seen[step]++
		if fmt.Sprint(step, " ", seen[step]) == at {
			fail(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // the signal is on its way
		}
		return nil
	}})
	fail(err)
	script := fsmtest.Script(childKeys)
	if at != "" { // a short life: three batches, a restore, three batches
		snap, err := os.ReadFile(filepath.Join(dir, "taken.snap"))
		fail(err)
		for i := range 6 {
			if i == 3 {
				_, _, err = s.Restore(bytes.NewReader(snap))
				fail(err)
			}
			_, err = s.ApplyBatch(batch(uint64(i*4+1), script[i*4:i*4+4]))
			fail(err)
		}
		return
	}
	for i := int(s.Position().Index); i < len(script); i += 3 {
		_, err = s.ApplyBatch(batch(uint64(i+1), script[i:min(i+3, len(script))]))
		fail(err)
		fmt.Println(s.Position().Index)
	}
}

func startChild(t *testing.T, dir, at string) (*exec.Cmd, io.ReadCloser) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+at)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// TestKilledAtEachStep kills a real process at every step it passes.
func TestKilledAtEachStep(t *testing.T) {
	script := fsmtest.Script(23)
	want, snap := stands(t, script), taken(t, script[:16])
	for _, c := range []struct {
		step  string
		index int // at which the next process finds itself
	}{
		{"apply: begin 1", 0}, {"apply: commit 2", 4}, {"apply: publish 3", 12},
		{"restore: load 1", 12}, {"restore: sync 1", 12}, {"restore: rename 1", 12}, {"restore: sync directory 1", 16},
		// Entries 13 to 16 are a replay now and make no transaction.
		{"apply: begin 5", 20}, {"apply: commit 5", 20}, {"apply: publish 5", 24},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "taken.snap"), snap, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd, out := startChild(t, dir, c.step)
		if _, err := io.Copy(io.Discard, out); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); !killed(err) {
			t.Fatalf("%s: the child was not killed: %v", c.step, err)
		}
		s := open(t, dir, Options{})
		if got := standOf(t, s); got != want[c.index] {
			t.Errorf("killed at %q: reopened at %d, want %d", c.step, got.at.Index, c.index)
		}
		apply(t, s, batch(1, script))
		if standOf(t, s) != want[24] {
			t.Errorf("killed at %q: the replay leads elsewhere", c.step)
		}
	}
}

// TestKilledAtAnyMoment kills a real process from outside while it applies, again
// and again over the same directory: nothing it had reported is missing, and what
// is there is whole.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	var reached uint64
	for round := range 5 {
		cmd, out := startChild(t, dir, "")
		lines := bufio.NewScanner(out)
		for n := 0; n < 20+13*round && lines.Scan(); n++ {
			at, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			reached = at
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // it went on until the signal came
			if at, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64); err == nil {
				reached = at
			}
		}
		if err := cmd.Wait(); !killed(err) {
			t.Fatalf("round %d: %v", round, err)
		}
		s := open(t, dir, Options{})
		got := standOf(t, s)
		if got.at.Index < reached || got.at.Index == childKeys+1 {
			t.Fatalf("round %d: at %d, but %d was reported", round, got.at.Index, reached)
		}
		other := open(t, t.TempDir(), Options{})
		apply(t, other, batch(1, fsmtest.Script(int(got.at.Index)-1)))
		if standOf(t, other) != got {
			t.Fatalf("round %d: the state at %d is another", round, got.at.Index)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains([]uint64{0, childKeys + 1}, reached) {
		t.Fatalf("reached %d: nothing was tested", reached)
	}
}

// TestKilledBesideASnapshot: while one is written, commits leave the list of free
// pages out, and the next process has to find them itself.
func TestKilledBesideASnapshot(t *testing.T) {
	script := fsmtest.Script(40)
	want, dir := stands(t, script), t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:10]))
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := 10; i < 40; i++ {
		apply(t, s, batch(uint64(i+1), script[i:i+1]))
	}
	left := copyDir(t, dir)
	n.Release()
	apply(t, s, batch(41, script[40:]))
	for name, c := range map[string]struct {
		dir   string
		index int
	}{"while it was written": {left, 40}, "after its release": {copyDir(t, dir), 41}} {
		again := open(t, c.dir, Options{})
		if standOf(t, again) != want[c.index] {
			t.Fatalf("killed %s: reopened at %d", name, again.Position().Index)
		}
		apply(t, again, batch(1, script))
		if standOf(t, again) != want[41] {
			t.Fatalf("killed %s: the replay leads elsewhere", name)
		}
		if err := again.current.Load().gen.db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				return err // a page both free and in use, or neither
			}
			return nil
		}); err != nil {
			t.Fatalf("killed %s: %v", name, err)
		}
	}
}
