package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func logCommand() *cli.Command {
	dir := &cli.StringFlag{Name: "dir", Usage: "read the data directory of a stopped node instead"}
	return group("log", "the lifecycle log: an RFC 6962 tree of everything that happened",
		looking("list", "", "list leaves", func(s *session) error {
			l, err := fetchLog(s, s.Uint64("from"))
			if err != nil {
				return err
			}
			v := view{value: l, wide: 6, head: []string{"NUMBER", "AT", "KIND", "SUBJECT", "BY", "CHANGE", "REASON", "KID", "REQUEST"}}
			for _, e := range l.Items {
				cells := eventCells(&e.Event)
				v.add(fmt.Sprint(e.Number), fmt.Sprint(e.Number), cells[0], cells[1], cells[2], cells[4], cells[5], cells[6], cells[8], cells[9])
			}
			return s.showPage(v, l.Next)
		}, append(pageFlags(), fromFlag())...),
		looking("show", "NUMBER", "print one leaf, exactly the bytes that are hashed", showLeaf,
			&cli.BoolFlag{Name: "prove", Usage: "have the node prove that its log has this leaf there, and check it"}),
		looking("verify", "", "compute the tree's root from every leaf and compare", verifyLog,
			dir, &cli.StringFlag{Name: "file", Usage: "check a dump instead of asking a node"},
			&cli.StringFlag{Name: "root", Usage: "the root it must have, base64, as in a position's log_root"},
			&cli.Uint64Flag{Name: "size", Usage: "the log had --root at this size: have the node prove that it has only grown, and read no leaf"}),
		looking("dump", "", "write every leaf, one JSON object per line", dumpLog,
			&cli.StringFlag{Name: "out", Usage: "file to write", DefaultText: "stdout"}, fromFlag(), dir),
	)
}

func fromFlag() cli.Flag {
	return &cli.Uint64Flag{Name: "from", Usage: "number of the first leaf"}
}

func fetchLog(s *session, from uint64) (wire.List[wire.LogEntry], error) {
	if dir := s.String("dir"); dir != "" {
		return readLogDir(dir, from)
	}
	c, err := s.client()
	if err != nil {
		return wire.List[wire.LogEntry]{}, err
	}
	return pages(s, func(o ...client.Option) (wire.List[wire.LogEntry], error) {
		return c.Log(s.ctx, append(o, client.Query(wire.QueryFrom, fmt.Sprint(from)))...)
	})
}

func showLeaf(s *session) error {
	var n uint64
	if _, err := fmt.Sscanf(s.arg(0), "%d", &n); err != nil {
		return usagef("%q is no leaf number", s.arg(0))
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := c.Log(s.ctx, client.Query(wire.QueryFrom, fmt.Sprint(n)), client.Page(1, ""))
	if err != nil {
		return err
	}
	if len(l.Items) == 0 || l.Items[0].Number != n {
		return wire.Errorf(wire.NotFound, "the log has no leaf %d", n)
	}
	if s.Bool("prove") {
		p, err := c.ProveLeaf(s.ctx, n, l.Items[0].Leaf)
		if err != nil {
			return proven(err)
		}
		s.notef("it is leaf %d of the log of %d leaves with root %s", n, p.LogSize, base64.StdEncoding.EncodeToString(p.LogRoot))
	}
	return s.show(view{value: l.Items[0], names: []string{fmt.Sprint(n)}, text: l.Items[0].Leaf, rows: [][]string{{"leaf", l.Items[0].Leaf}}})
}

// tree computes an RFC 6962 root leaf by leaf. It keeps every stored hash: 32
// bytes twice per leaf, which a verifier of a million leaves can afford.
type tree struct {
	hashes []tlog.Hash
	size   int64
}

func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("hash %d is not there yet", x)
		}
		out[i] = t.hashes[x]
	}
	return out, nil
}

func (t *tree) add(e *wire.LogEntry) error {
	if e.Number != uint64(t.size) {
		return failedf("leaf %d stands where leaf %d belongs", e.Number, t.size)
	}
	h, err := tlog.StoredHashes(t.size, []byte(e.Leaf), t)
	if err != nil {
		return fmt.Errorf("hash leaf %d: %w", e.Number, err)
	}
	t.hashes = append(t.hashes, h...)
	t.size++
	return nil
}

// proven makes a proof that fails a failed check.
func proven(err error) error {
	if errors.Is(err, client.ErrLogProof) {
		return failedf("%v", err)
	}
	return err
}

// extendLog checks that the log has only grown since somebody noted its size and root.
func extendLog(s *session) error {
	if s.String("file") != "" || s.String("dir") != "" {
		return usagef("--size asks a node: leave --file and --dir out")
	}
	root, err := base64.StdEncoding.DecodeString(s.String("root"))
	if err != nil || len(root) != tlog.HashSize {
		return usagef("--size needs --root, the root that the log had at that size: 32 bytes in base64")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	p, err := c.ProveExtends(s.ctx, s.Uint64("size"), root)
	if err != nil {
		return proven(err)
	}
	now := base64.StdEncoding.EncodeToString(p.LogRoot)
	v := view{value: map[string]any{"ok": true, "leaves": p.LogSize, "log_root": now, "extends": s.Uint64("size")}, names: []string{now}}
	v.pair("leaves", fmt.Sprint(p.LogSize))
	v.pair("root", now)
	v.pair("check", fmt.Sprintf("ok: it begins with the log of %d leaves", s.Uint64("size")))
	return s.show(v)
}

func verifyLog(s *session) error {
	if s.IsSet("size") {
		return extendLog(s)
	}
	t := new(tree)
	want := s.String("root")
	var position *wire.Position
	if file := s.String("file"); file != "" {
		if s.String("dir") != "" {
			return usagef("--file and --dir exclude each other")
		}
		if want == "" {
			return usagef("--file needs --root: a dump cannot vouch for itself")
		}
		if err := readDump(s, file, t.add); err != nil {
			return err
		}
	} else {
		l, err := fetchLog(s, 0)
		if err != nil {
			return err
		}
		for i := range l.Items {
			if err := t.add(&l.Items[i]); err != nil {
				return err
			}
		}
		if position = l.Position; want == "" && position != nil {
			want = base64.StdEncoding.EncodeToString(position.LogRoot)
		}
	}
	return compareRoot(s, t, want, position)
}

// compareRoot ends a verification. Leaves may have been added while they were
// read, so the node's root counts only for the size it names.
func compareRoot(s *session, t *tree, want string, position *wire.Position) error {
	size := t.size
	if position != nil && position.LogSize < uint64(size) {
		size = int64(position.LogSize)
	}
	root, err := tlog.TreeHash(size, t)
	if err != nil {
		return fmt.Errorf("compute the root: %w", err)
	}
	got := base64.StdEncoding.EncodeToString(root[:])
	v := view{value: map[string]any{"ok": got == want, "leaves": size, "log_root": got, "expected": want}, names: []string{got}}
	v.pair("leaves", fmt.Sprint(size))
	v.pair("root", got)
	if got == want {
		v.pair("check", "ok")
		return s.show(v)
	}
	v.pair("expected", want)
	return errors.Join(s.show(v), failedf("the root over %d leaves is %s, not %s: a leaf was changed, added or left out", size, got, want))
}

func readDump(s *session, file string, each func(*wire.LogEntry) error) error {
	f, err := s.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	for n := 1; ; n++ {
		var e wire.LogEntry
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return failedf("line %d of the dump cannot be read: %v", n, err)
		}
		if err := each(&e); err != nil {
			return err
		}
	}
}

func dumpLog(s *session) error {
	l, err := fetchLog(s, s.Uint64("from"))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, item := range l.Items {
		if err := e.Encode(item); err != nil {
			return fmt.Errorf("encode leaf %d: %w", item.Number, err)
		}
	}
	if p := l.Position; p != nil {
		s.notef("%d leaves; the node's root over %d is %s", len(l.Items), p.LogSize, base64.StdEncoding.EncodeToString(p.LogRoot))
	}
	return s.write(s.String("out"), b.Bytes(), 0o644)
}
