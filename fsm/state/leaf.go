package state

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Leaf is one entry of the lifecycle log: what happened to one subject. It is
// text, "name: value" lines under a version line, so that a person can read the
// bytes that were hashed. Kind is the event kind of INTERFACE ("key.activated").
type Leaf struct {
	Kind      string
	At        lifecycle.Instant
	Index     uint64
	Sub       int // 0 for the first leaf of an entry
	Actor     string
	RequestID string
	Key       lifecycle.KeyID
	Version   uint64
	KID       string
	Node      lifecycle.NodeID
	Before    string
	After     string
	Reason    string
	Detail    string
	Command   string // hex SHA-256 of the entry
}

const leafVersion = "chancery-log/1"

// fields lists names and values in the order they are written; empty ones are
// left out. Names are never reused for something else.
func (l *Leaf) fields() []struct{ name, value string } {
	num := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	return []struct{ name, value string }{
		{"kind", l.Kind}, {"at", strconv.FormatInt(int64(l.At), 10) + " " + l.At.String()}, {"index", num(l.Index)}, {"sub", num(uint64(l.Sub))},
		{"actor", l.Actor}, {"request", l.RequestID}, {"key", string(l.Key)}, {"version", num(l.Version)}, {"kid", l.KID},
		{"node", string(l.Node)}, {"before", l.Before}, {"after", l.After}, {"reason", l.Reason}, {"detail", l.Detail}, {"command", l.Command},
	}
}

// Encode writes the leaf. Values never hold a line break: limits refuse control
// characters, and what slips past them is quoted.
func (l *Leaf) Encode() []byte {
	var b strings.Builder
	b.WriteString(leafVersion + "\n")
	for _, f := range l.fields() {
		if f.value == "" {
			continue
		}
		v := f.value
		if strings.ContainsAny(v, "\n\r\"") {
			v = strconv.Quote(v)
		}
		b.WriteString(f.name + ": " + v + "\n")
	}
	return []byte(b.String())
}

// ParseLeaf reads what Encode wrote and nothing else: the leaf must encode to the
// identical bytes, or two readers could see two leaves in one hash.
func ParseLeaf(b []byte) (*Leaf, error) {
	lines := strings.Split(string(b), "\n")
	if len(lines) < 3 || lines[0] != leafVersion || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("log leaf of %d bytes does not begin with %q", len(b), leafVersion)
	}
	l := &Leaf{}
	for _, line := range lines[1 : len(lines)-1] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("log leaf line %q has no value", line)
		}
		if strings.HasPrefix(value, `"`) {
			v, err := strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("log leaf value %s: %w", value, err)
			}
			value = v
		}
		if err := l.set(name, value); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(l.Encode(), b) {
		return nil, fmt.Errorf("log leaf of %d bytes is not in the form leaves are written in", len(b))
	}
	return l, nil
}

func (l *Leaf) set(name, value string) (err error) {
	switch name {
	case "kind":
		l.Kind = value
	case "at":
		ms, _, _ := strings.Cut(value, " ")
		var n int64
		n, err = strconv.ParseInt(ms, 10, 64)
		l.At = lifecycle.Instant(n)
	case "index":
		l.Index, err = strconv.ParseUint(value, 10, 64)
	case "sub":
		l.Sub, err = strconv.Atoi(value)
	case "actor":
		l.Actor = value
	case "request":
		l.RequestID = value
	case "key":
		l.Key = lifecycle.KeyID(value)
	case "version":
		l.Version, err = strconv.ParseUint(value, 10, 64)
	case "kid":
		l.KID = value
	case "node":
		l.Node = lifecycle.NodeID(value)
	case "before":
		l.Before = value
	case "after":
		l.After = value
	case "reason":
		l.Reason = value
	case "detail":
		l.Detail = value
	case "command":
		l.Command = value
	default:
		err = fmt.Errorf("unknown field")
	}
	if err != nil {
		return fmt.Errorf("log leaf field %q: %w", name, err)
	}
	return nil
}

// hashReader reads stored hashes of the RFC 6962 tree out of a transaction.
type hashReader struct{ r Reader }

func (h hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		b := h.r.Get(TableLogHashes, number(uint64(x)))
		if len(b) != tlog.HashSize {
			return nil, fmt.Errorf("stored hash %d of the lifecycle log has %d bytes", x, len(b))
		}
		copy(out[i][:], b)
	}
	return out, nil
}

// appendLeaf adds a record to the tree that has size records.
func appendLeaf(b Backend, size uint64, record []byte) error {
	hashes, err := tlog.StoredHashes(int64(size), record, hashReader{b})
	if err != nil {
		return fmt.Errorf("extend the lifecycle log at %d: %w", size, err)
	}
	at := uint64(tlog.StoredHashIndex(0, int64(size)))
	for i := range hashes {
		b.Put(TableLogHashes, number(at+uint64(i)), hashes[i][:])
	}
	b.Put(TableLog, number(size), record)
	return nil
}

// treeRoot is the RFC 6962 root over the first size records.
func treeRoot(r Reader, size uint64) ([32]byte, error) {
	h, err := tlog.TreeHash(int64(size), hashReader{r})
	if err != nil {
		return h, fmt.Errorf("compute the root of the lifecycle log at %d: %w", size, err)
	}
	return h, nil
}
