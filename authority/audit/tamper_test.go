package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written makes a closed journal of n records in small segments and returns its
// head and segments.
func written(t testing.TB, dir string, n int, segmentBytes int64) (Head, []segment) {
	t.Helper()
	j := open(t, dir, Options{SegmentBytes: segmentBytes})
	appendN(t, j, n)
	head := j.Head()
	closeJournal(t, j)
	list, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	return head, list
}

func rewrite(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryByteFlipIsFound changes each byte of a journal of several segments:
// digits, hex, punctuation, text, header and newlines. Only the very last newline
// may pass as a torn line, and then the anchor finds it.
func TestEveryByteFlipIsFound(t *testing.T) {
	dir := t.TempDir()
	head, list := written(t, dir, 6, 800)
	if len(list) < 2 {
		t.Fatalf("%d segments", len(list))
	}
	for i, s := range list {
		path := filepath.Join(dir, s.name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range good {
			for _, flip := range []byte{0x01, 0x20, 0x80} {
				bad := bytes.Clone(good)
				bad[at] ^= flip
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := Verify(dir, head); !errors.Is(err, ErrBroken) {
					t.Fatalf("%s: byte %d ^ %#x (%q): %v", s.name, at, flip, good[at], err)
				}
				if i == len(list)-1 && at == len(good)-1 {
					continue
				}
				if r, err := Verify(dir); !errors.Is(err, ErrBroken) {
					t.Fatalf("%s: byte %d ^ %#x passes without an anchor: %+v, %v", s.name, at, flip, r, err)
				}
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Verify(dir, head); err != nil {
		t.Fatalf("the untouched journal: %v", err)
	}
}

func TestMovedLinesAreFound(t *testing.T) {
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(b[:len(b)-1], []byte("\n")) }
	join := func(ls ...[]byte) []byte { return append(bytes.TrimSuffix(bytes.Join(ls, nil), []byte("\n")), '\n') }
	for name, change := range map[string]func(b []byte) []byte{
		"removed": func(b []byte) []byte { l := lines(b); return join(l[0], l[1], l[3], l[4]) },
		"swapped": func(b []byte) []byte { l := lines(b); return join(l[0], l[2], l[1], l[3], l[4]) },
		"doubled": func(b []byte) []byte { l := lines(b); return join(l[0], l[1], l[1], l[2], l[3], l[4]) },
		"first gone": func(b []byte) []byte {
			l := lines(b)
			return join(l[0], l[2], l[3], l[4])
		},
		"header gone": func(b []byte) []byte { return join(lines(b)[1:]...) },
		"two headers": func(b []byte) []byte { l := lines(b); return join(l[0], l[0], l[1]) },
		"empty line":  func(b []byte) []byte { l := lines(b); return join(l[0], []byte("\n"), l[1]) },
		"empty file":  func([]byte) []byte { return nil },
		"long line":   func(b []byte) []byte { return append(b, strings.Repeat("x", maxLineBytes)+"\n"...) },
		"foreign":     func(b []byte) []byte { return append(b, `{"seq":5}`+"\n"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, list := written(t, dir, 4, 0)
			rewrite(t, filepath.Join(dir, list[0].name), change)
			var where *BrokenError
			if _, err := Verify(dir); !errors.As(err, &where) || !errors.Is(err, ErrBroken) {
				t.Fatalf("verify: %v", err)
			}
			if where.File != list[0].name || where.Line == 0 {
				t.Errorf("does not say where: %+v", where)
			}
			if _, err := Open(dir, Options{Node: "n1", Logger: quiet()}); !errors.Is(err, ErrBroken) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

func TestMovedSegmentsAreFound(t *testing.T) {
	for name, change := range map[string]func(dir string, l []segment) error{
		"middle gone": func(dir string, l []segment) error { return os.Remove(filepath.Join(dir, l[1].name)) },
		"renamed": func(dir string, l []segment) error {
			return os.Rename(filepath.Join(dir, l[2].name), filepath.Join(dir, segmentName(99)))
		},
		"strange name": func(dir string, l []segment) error {
			return os.WriteFile(filepath.Join(dir, "audit-1.jsonl"), nil, 0o600)
		},
		"old cut": func(dir string, l []segment) error {
			b, err := os.ReadFile(filepath.Join(dir, l[0].name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, l[0].name), b[:len(b)-5], 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, list := written(t, dir, 9, 800)
			if len(list) < 3 {
				t.Fatalf("%d segments", len(list))
			}
			if err := change(dir, list); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(dir); !errors.Is(err, ErrBroken) {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

// TestOpenChecksTheLinkBefore: Open reads only the last segment, but it must not
// go on from one that does not follow its predecessor.
func TestOpenChecksTheLinkBefore(t *testing.T) {
	dir := t.TempDir()
	_, list := written(t, dir, 9, 800)
	before := filepath.Join(dir, list[len(list)-2].name)
	rewrite(t, before, func(b []byte) []byte {
		at := bytes.LastIndexByte(b, '"') - 1
		b[at] ^= 1
		return b
	})
	if _, err := Open(dir, Options{Node: "n1", Logger: quiet()}); !errors.Is(err, ErrBroken) {
		t.Errorf("open after a changed hash: %v", err)
	}
	rewrite(t, before, func(b []byte) []byte { return b[:len(b)-1] })
	if _, err := Open(dir, Options{Node: "n1", Logger: quiet()}); !errors.Is(err, ErrBroken) {
		t.Errorf("open after a cut: %v", err)
	}
}

// TestAnchorsFindWhatTheChainCannot: whole lines cut from the end, and a journal
// written anew with all hashes right.
func TestAnchorsFindWhatTheChainCannot(t *testing.T) {
	dir := t.TempDir()
	head, list := written(t, dir, 4, 0)
	rewrite(t, filepath.Join(dir, list[0].name), func(b []byte) []byte {
		return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1]
	})
	r, err := Verify(dir)
	if err != nil || r.Records != 3 {
		t.Fatalf("a cut at a line's end must look whole: %+v, %v", r, err)
	}
	if _, err := Verify(dir, r.Head, head); !errors.Is(err, ErrBroken) {
		t.Errorf("the cut passes its anchor: %v", err)
	}
	forged := t.TempDir()
	j := open(t, forged, Options{})
	for range 4 {
		if _, err := j.Append(t.Context(), decision("other")); err != nil {
			t.Fatal(err)
		}
	}
	closeJournal(t, j)
	if _, err := Verify(forged); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(forged, head); !errors.Is(err, ErrBroken) {
		t.Errorf("the forgery passes the anchor: %v", err)
	}
	if _, err := Verify(forged, Head{Seq: 1, Hash: "a"}, Head{Seq: 1, Hash: "b"}); !errors.Is(err, ErrBroken) {
		t.Errorf("anchors that disagree: %v", err)
	}
	if _, err := Verify(forged, Head{}); err != nil {
		t.Errorf("the head of an empty journal: %v", err)
	}
}

// TestVerifyWithoutOldSegments: segments moved to an archive leave a chain that
// still holds and says where it begins.
func TestVerifyWithoutOldSegments(t *testing.T) {
	dir := t.TempDir()
	head, list := written(t, dir, 9, 800)
	if err := os.Remove(filepath.Join(dir, list[0].name)); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir, head)
	if err != nil || r.FirstSeq != list[1].firstSeq || r.Records != 9-r.FirstSeq+1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestVerifyRefusesUnknownFormat(t *testing.T) {
	dir := t.TempDir()
	_, list := written(t, dir, 1, 0)
	rewrite(t, filepath.Join(dir, list[0].name), func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"chancery_audit":1`), []byte(`"chancery_audit":2`), 1)
	})
	if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), "audit format 2") {
		t.Errorf("format 2: %v", err)
	}
}

func TestVerifyEmptyDirectory(t *testing.T) {
	if _, err := Verify(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to verify: %v", err)
	}
	if _, err := Verify(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
