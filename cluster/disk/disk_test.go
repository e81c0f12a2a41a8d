package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var errCrash = errors.New("power cut")

func boot(id string) func() (string, error) {
	return func() (string, error) { return id, nil }
}

func mustOpen(t *testing.T, root string, opts Options) *Dir {
	t.Helper()
	d, err := Open(root, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { d.Abandon() })
	return d
}

func TestOpenMakesPrivateLayout(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, root, Options{})
	for _, p := range []string{d.Root(), d.Snapshots(), d.State(), d.Identity(), d.Audit(), d.Keys(), filepath.Dir(d.RaftLog())} {
		info, err := os.Stat(p)
		if err != nil || !info.IsDir() || info.Mode().Perm() != DirMode {
			t.Errorf("%s: %v %v, want a directory of mode %o", p, info, err, DirMode)
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().IsRegular() && info.Mode().Perm() != FileMode {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
	}
}

func TestPermissions(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, root, Options{}) // empty: tightened
	if info, _ := os.Stat(root); info.Mode().Perm() != DirMode {
		t.Fatalf("empty directory left at mode %o", info.Mode().Perm())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o750, 0o701, 0o720} {
		if err := os.Chmod(root, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(root, Options{}); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

// TestLockedByOtherProcess runs this test binary again as the second process.
func TestLockedByOtherProcess(t *testing.T) {
	if root := os.Getenv("CHANCERY_TEST_OPEN"); root != "" {
		_, err := Open(root, Options{})
		fmt.Println("child:", err)
		return
	}
	root := t.TempDir()
	d := mustOpen(t, root, Options{})
	child := exec.Command(os.Args[0], "-test.run=^TestLockedByOtherProcess$")
	child.Env = append(os.Environ(), "CHANCERY_TEST_OPEN="+root)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("run child: %v\n%s", err, out)
	}
	for _, want := range []string{ErrLocked.Error(), fmt.Sprintf("process %d", os.Getpid()), root} {
		if !strings.Contains(string(out), want) {
			t.Errorf("child said %q, which lacks %q", out, want)
		}
	}
	if _, err := Open(root, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open in one process: %v", err)
	}
	if err := d.Abandon(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, root, Options{}) // the pid left in the file does not lock anybody out
}

func TestLayoutRefusals(t *testing.T) {
	cases := map[string]struct {
		content string
		want    error
	}{
		"newer":    {"chancery-data 2\n", ErrNewerLayout},
		"far":      {"chancery-data 4000000000\n", ErrNewerLayout},
		"empty":    {"", ErrDamaged},
		"zero":     {"chancery-data 0\n", ErrDamaged},
		"negative": {"chancery-data -1\n", ErrDamaged},
		"garbage":  {"\x00\x00\x00", ErrDamaged},
		"overflow": {"chancery-data 99999999999999999999\n", ErrDamaged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := mustOpen(t, root, Options{}).Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "layout"), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(root, "boot"))
			if _, err := Open(root, Options{BootID: boot("other")}); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(filepath.Join(root, "boot")); string(before) != string(after) {
				t.Error("a refused Open changed the directory")
			}
		})
	}
	foreign := t.TempDir()
	os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("x"), 0o600)
	os.Chmod(foreign, 0o700)
	if _, err := Open(foreign, Options{}); !errors.Is(err, ErrForeign) {
		t.Errorf("directory of somebody else: %v", err)
	}
	if entries, _ := os.ReadDir(foreign); len(entries) != 1 {
		t.Errorf("a refused Open left %v", entries)
	}
}

func TestUnclean(t *testing.T) {
	type stop string
	const clean, crash stop = "clean", "crash"
	steps := []struct {
		boot    string
		rebuild bool
		stop    stop
		want    bool
	}{
		{"a", false, clean, false}, // first start
		{"b", false, crash, false}, // clean close, then a reboot
		{"b", false, crash, false}, // the process died, the page cache did not
		{"c", false, crash, true},  // the machine died
		{"c", false, clean, true},  // died again before the rebuild was finished
		{"d", false, clean, true},  // a clean close does not make an unfinished rebuild good
		{"d", true, crash, true},   // rebuilt now
		{"d", false, crash, false}, // and so it stays
		{"e", true, clean, true},
		{"f", false, clean, false},
	}
	root := t.TempDir()
	for i, s := range steps {
		d := mustOpen(t, root, Options{BootID: boot(s.boot)})
		if d.Unclean() != s.want {
			t.Fatalf("step %d: Unclean() = %v", i, d.Unclean())
		}
		if s.rebuild {
			if err := d.Rebuilt(); err != nil {
				t.Fatal(err)
			}
			if d.Unclean() {
				t.Fatalf("step %d: unclean after Rebuilt", i)
			}
		}
		end := d.Abandon
		if s.stop == clean {
			end = d.Close
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"", "x", "f open", "f  open sound\n", "f shut sound\n", "f open sound\nmore\n"} {
		if err := os.WriteFile(filepath.Join(root, "boot"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, root, Options{BootID: boot("f")})
		if !d.Unclean() {
			t.Errorf("marker %q was believed", content)
		}
		d.Abandon()
	}
	os.Remove(filepath.Join(root, "boot"))
	if !mustOpen(t, root, Options{BootID: boot("f")}).Unclean() {
		t.Error("a lost marker was taken for a clean close")
	}
}

func TestKernelBootID(t *testing.T) {
	a, err := kernelBootID()
	b, _ := kernelBootID()
	if err != nil || a == "" || a != b || strings.ContainsAny(a, " \n") {
		t.Fatalf("boot id %q then %q, %v", a, b, err)
	}
}

func TestIncarnation(t *testing.T) {
	root := t.TempDir()
	d := mustOpen(t, root, Options{})
	first := d.Incarnation()
	if !isIncarnation(first) {
		t.Fatalf("incarnation %q", first)
	}
	d.Close()
	d = mustOpen(t, root, Options{})
	if d.Incarnation() != first {
		t.Fatal("incarnation changed over a restart")
	}
	if other := mustOpen(t, t.TempDir(), Options{}).Incarnation(); other == first {
		t.Fatal("two directories share an incarnation")
	}
	if err := os.WriteFile(d.RaftLog(), []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Close()
	for _, bad := range []string{"", "xyz\n", strings.ToUpper("abcdefabcdefabcd") + "\n", "00\n"} {
		os.WriteFile(filepath.Join(root, "incarnation"), []byte(bad), 0o600)
		if _, err := Open(root, Options{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("incarnation %q: %v", bad, err)
		}
	}
	os.Remove(filepath.Join(root, "incarnation"))
	if _, err := Open(root, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("raft log without incarnation: %v", err)
	}
}

func TestSpace(t *testing.T) {
	d := mustOpen(t, t.TempDir(), Options{})
	if err := d.CheckSpace(1); err != nil {
		t.Fatal(err)
	}
	if err := d.CheckSpace(1 << 62); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), d.Root()) {
		t.Fatalf("impossible demand: %v", err)
	}
}
