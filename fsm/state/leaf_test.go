package state_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestLeafBytes: these were hashed into the logs of every cluster that exists.
func TestLeafBytes(t *testing.T) {
	l := state.Leaf{Kind: "key.revoked", At: 1767355200123, Index: 42, Sub: 1, Actor: "ada", RequestID: "019b7dd0-2c7b-7000-8000-000000000001",
		Key: "ci", Version: 3, KID: "kid", Node: "ab", Before: "active", After: "compromised", Reason: "keyCompromise", Detail: `say "so"`, Command: "00ff"}
	const want = "chancery-log/1\n" +
		"kind: key.revoked\n" +
		"at: 1767355200123 2026-01-02T12:00:00.123Z\n" +
		"index: 42\n" +
		"sub: 1\n" +
		"actor: ada\n" +
		"request: 019b7dd0-2c7b-7000-8000-000000000001\n" +
		"key: ci\n" +
		"version: 3\n" +
		"kid: kid\n" +
		"node: ab\n" +
		"before: active\n" +
		"after: compromised\n" +
		"reason: keyCompromise\n" +
		"detail: \"say \\\"so\\\"\"\n" +
		"command: 00ff\n"
	if got := string(l.Encode()); got != want {
		t.Errorf("the leaf is now written as\n%s\nand was\n%s", got, want)
	}
	back, err := state.ParseLeaf([]byte(want))
	if err != nil || !reflect.DeepEqual(*back, l) {
		t.Errorf("it is read as %+v, %v", back, err)
	}
}

// TestLeafBytesOfProposals: likewise.
func TestLeafBytesOfProposals(t *testing.T) {
	l := state.Leaf{Kind: "proposal.approved", At: 1767355200123, Index: 44, Actor: "ada", Key: "ci", Before: "open", After: "approved",
		Detail: "bob SHA256:x", Proposal: "p-00112233aabb", Digest: "0d", Command: "00ff"}
	const want = "chancery-log/1\n" +
		"kind: proposal.approved\n" +
		"at: 1767355200123 2026-01-02T12:00:00.123Z\n" +
		"index: 44\n" +
		"actor: ada\n" +
		"key: ci\n" +
		"before: open\n" +
		"after: approved\n" +
		"detail: bob SHA256:x\n" +
		"proposal: p-00112233aabb\n" +
		"digest: 0d\n" +
		"command: 00ff\n"
	if got := string(l.Encode()); got != want {
		t.Errorf("the leaf is now written as\n%s\nand was\n%s", got, want)
	}
	if back, err := state.ParseLeaf([]byte(want)); err != nil || !reflect.DeepEqual(*back, l) {
		t.Errorf("it is read as %+v, %v", back, err)
	}
}

// TestLeafBytesOfLists: fences and signatures, likewise.
func TestLeafBytesOfLists(t *testing.T) {
	l := state.Leaf{Kind: "key.fenced", At: 1767355200123, Index: 44, Actor: "system", Key: "ci", Version: 3, Reason: "key.revoked", Fence: 42,
		Nodes: []lifecycle.FencedNode{{Node: "ab", Outcome: lifecycle.Acked, Boot: "e5", At: 7}, {Node: "cd", Outcome: lifecycle.LeaseExpired, At: 8}},
		Count: 2, Digest: "0d", Items: []command.SignatureItem{{TBS: []byte{1, 2}, Sig: []byte{3}}, {TBS: []byte{4}, Sig: []byte{0xff}}}, Command: "00ff"}
	const want = "chancery-log/1\n" +
		"kind: key.fenced\n" +
		"at: 1767355200123 2026-01-02T12:00:00.123Z\n" +
		"index: 44\n" +
		"actor: system\n" +
		"key: ci\n" +
		"version: 3\n" +
		"reason: key.revoked\n" +
		"fence: 42\n" +
		"fenced: ab acked e5 7\n" +
		"fenced: cd lease_expired - 8\n" +
		"count: 2\n" +
		"digest: 0d\n" +
		"item: 0102 03\n" +
		"item: 04 ff\n" +
		"command: 00ff\n"
	if got := string(l.Encode()); got != want {
		t.Errorf("the leaf is now written as\n%s\nand was\n%s", got, want)
	}
	back, err := state.ParseLeaf([]byte(want))
	if err != nil || !reflect.DeepEqual(*back, l) {
		t.Errorf("it is read as %+v, %v", back, err)
	}
	for old, bad := range map[string]string{"fence: 42": "fence: +42", "fenced: ab acked e5 7": "fenced: ab acked 7", "acked e5": "acked  e5", "e5 7": "e5 07",
		"count: 2": "count: 02", "item: 0102 03": "item: 010 03", "item: 04 ff": "item: 04 FF", "item: 0102": "item:0102"} {
		if l, err := state.ParseLeaf([]byte(strings.Replace(want, old, bad, 1))); err == nil {
			t.Errorf("%q is read as %+v", bad, l)
		}
	}
}

// TestLeafBytesOfCertificates: likewise.
func TestLeafBytesOfCertificates(t *testing.T) {
	l := state.Leaf{Kind: "cert.issued", At: 1767355200123, Index: 44, Actor: "node:alpha", Node: "ab", Count: 2, Digest: "0d",
		Serials: []lifecycle.Serial{lifecycle.NewSerial(1767355200123, [13]byte{1}), lifecycle.NewSerial(1767355200124, [13]byte{2})}, Command: "00ff"}
	const want = "chancery-log/1\n" +
		"kind: cert.issued\n" +
		"at: 1767355200123 2026-01-02T12:00:00.123Z\n" +
		"index: 44\n" +
		"actor: node:alpha\n" +
		"node: ab\n" +
		"count: 2\n" +
		"digest: 0d\n" +
		"serial: 01019b7e94327b01000000000000000000000000\n" +
		"serial: 01019b7e94327c02000000000000000000000000\n" +
		"command: 00ff\n"
	if got := string(l.Encode()); got != want {
		t.Errorf("the leaf is now written as\n%s\nand was\n%s", got, want)
	}
	if back, err := state.ParseLeaf([]byte(want)); err != nil || !reflect.DeepEqual(*back, l) {
		t.Errorf("it is read as %+v, %v", back, err)
	}
	for old, bad := range map[string]string{"serial: 01019b": "serial: 01019B", "serial: 0101": "serial: 0x0101", "7b01": "7b:01"} {
		if l, err := state.ParseLeaf([]byte(strings.Replace(want, old, bad, 1))); err == nil {
			t.Errorf("%q is read as %+v", bad, l)
		}
	}
}

func TestLeafRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return rapid.String().Draw(t, name) }
		l := state.Leaf{Kind: text("kind"), At: lifecycle.Instant(rapid.Int64Range(0, 253402300799999).Draw(t, "at")),
			Index: rapid.Uint64().Draw(t, "index"), Sub: rapid.IntRange(0, 1000).Draw(t, "sub"), Actor: text("actor"), RequestID: text("request"),
			Key: lifecycle.KeyID(text("key")), Version: rapid.Uint64().Draw(t, "version"), KID: text("kid"), Node: lifecycle.NodeID(text("node")),
			Before: text("before"), After: text("after"), Reason: text("reason"), Detail: text("detail"), Command: text("command")}
		b := l.Encode()
		back, err := state.ParseLeaf(b)
		if err != nil || !reflect.DeepEqual(*back, l) {
			t.Fatalf("%q comes back as %+v, %v", b, back, err)
		}
		if lines := strings.Count(string(b), "\n"); lines > 17 {
			t.Fatalf("%q has %d lines: a value broke out of its line", b, lines)
		}
	})
}

func TestParseLeafIsStrict(t *testing.T) {
	good := (&state.Leaf{Kind: "key.created", At: 5, Index: 1}).Encode()
	if _, err := state.ParseLeaf(good); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"another version":  strings.Replace(string(good), "/1", "/2", 1),
		"cut short":        string(good[:len(good)-1]),
		"a line too many":  string(good) + "\n",
		"an unknown field": string(good) + "colour: red\n",
		"a field twice":    string(good) + "index: 2\n",
		"wrong order":      "chancery-log/1\nindex: 1\nkind: x\nat: 5 1970-01-01T00:00:00.005Z\n",
		"another date":     strings.Replace(string(good), "1970", "1971", 1),
		"no number":        strings.Replace(string(good), "index: 1", "index: one", 1),
		"a plus sign":      strings.Replace(string(good), "index: 1", "index: +1", 1),
		"a useless quote":  strings.Replace(string(good), "key.created", `"key.created"`, 1),
		"an open quote":    strings.Replace(string(good), "key.created", `"key.created`, 1),
		"an empty value":   string(good) + "detail: \n",
	} {
		if l, err := state.ParseLeaf([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", name, l)
		}
	}
}

func FuzzParseLeaf(f *testing.F) {
	f.Add((&state.Leaf{Kind: "key.created", At: 5, Index: 1, Detail: "a \"b\"\nc"}).Encode())
	f.Add([]byte("chancery-log/1\nkind: x\n"))
	f.Add([]byte("chancery-log/1\nkind: key.fenced\nat: 5 1970-01-01T00:00:00.005Z\nfence: 3\nfenced: ab acked e5 7\ncount: 1\ndigest: 0d\nitem: 01 02\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := state.ParseLeaf(b); err == nil && !bytes.Equal(l.Encode(), b) {
			t.Fatalf("%q is read and written back as %q", b, l.Encode())
		}
	})
}

// TestLogIsATree: size, root and proofs fit an independent reading of RFC 6962.
func TestLogIsATree(t *testing.T) {
	w := newWorld(t).active(1).active(2)
	v, rows := w.l.View(), w.l.Rows()
	pos := v.Position()
	if got := rootOf(t, rows); got != pos.LogRoot {
		t.Fatalf("root %x, the leaves give %x", pos.LogRoot, got)
	}
	n, last := uint64(0), uint64(0)
	if err := v.Leaves(0, func(i uint64, l *state.Leaf, raw []byte) bool {
		if i != n || l.Index < last || l.Kind == "" || l.Actor != ledgertest.Admin && l.Actor != "system" || len(l.Command) != 64 {
			t.Errorf("leaf %d: %+v", i, l)
		}
		proof, err := tlog.ProveRecord(int64(pos.LogSize), int64(i), v.Hashes())
		if err != nil || tlog.CheckRecord(proof, int64(pos.LogSize), tlog.Hash(pos.LogRoot), int64(i), tlog.RecordHash(raw)) != nil {
			t.Errorf("leaf %d is not proved (%v)", i, err)
		}
		n, last = n+1, l.Index
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if n != pos.LogSize {
		t.Errorf("%d leaves, the log's size is %d", n, pos.LogSize)
	}
}

func TestLeafAfter(t *testing.T) {
	w := newWorld(t).active(1)
	v := w.l.View()
	var indexes []uint64
	if err := v.Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool { indexes = append(indexes, l.Index); return true }); err != nil {
		t.Fatal(err)
	}
	for index := uint64(0); index <= v.Position().Index+1; index++ {
		want := uint64(len(indexes))
		for i, x := range indexes {
			if x > index {
				want = uint64(i)
				break
			}
		}
		if got, err := v.LeafAfter(index); err != nil || got != want {
			t.Errorf("the first leaf after entry %d is %d (%v), want %d", index, got, err, want)
		}
	}
}
