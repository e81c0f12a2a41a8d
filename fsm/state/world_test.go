package state_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// world is a cluster of three signing nodes, seen through the one that applies.
// When its test ends the digest and the log root are computed again from nothing.
type world struct {
	testing.TB
	l     *ledgertest.Ledger
	nodes []lifecycle.NodeID
}

const ci lifecycle.KeyID = "ci"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, l: ledgertest.New(t)}
	w.nodes = ledgertest.Genesis(t, w.l, "alpha", "beta", "gamma")
	t.Cleanup(func() { checkSums(t, w.l.View().Position(), w.digest(), w.l.Rows()) })
	return w
}

// digest is the incremental digest, out of a mark.
func (w *world) digest() []byte {
	w.Helper()
	w.ok(&command.MarkCheckpoint{})
	return w.l.View().Mark().Digest
}

// checkSums compares what Apply kept up to date with what the rows say.
func checkSums(t testing.TB, pos state.Position, digest []byte, r state.Reader) {
	t.Helper()
	m, err := state.LoadMachine(r)
	if err != nil {
		t.Fatalf("load what was applied: %v", err)
	}
	meta := m.Root().Meta
	meta.Rows, meta.Derived = state.Scan(r)
	if got := meta.Digest(); string(got[:]) != string(digest) {
		t.Errorf("the incremental digest is %x, a scan gives %x", digest, got)
	}
	if got := rootOf(t, r); got != pos.LogRoot {
		t.Errorf("log root %x, the leaves give %x", pos.LogRoot, got)
	}
}

// sums are what the digest is made of.
type sums struct {
	rows    state.SetHash
	derived state.SumHash
}

func scan(r state.Reader) (s sums) {
	s.rows, s.derived = state.Scan(r)
	return s
}

// rootOf computes the RFC 6962 root from the leaves alone, recursively, as section
// 2.1 of the RFC defines it.
func rootOf(t testing.TB, r state.Reader) tlog.Hash {
	t.Helper()
	var leaves [][]byte
	r.Ascend(state.TableLog, "", func(_ string, b []byte) bool { leaves = append(leaves, b); return true })
	var tree func([][]byte) tlog.Hash
	tree = func(d [][]byte) tlog.Hash {
		if len(d) == 1 {
			return sha256.Sum256(append([]byte{0}, d[0]...))
		}
		k := 1
		for k*2 < len(d) {
			k *= 2
		}
		left, right := tree(d[:k]), tree(d[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
	return tree(leaves)
}

// ok applies a command that must be accepted.
func (w *world) ok(body command.Body, reads ...command.RowRef) state.Outcome {
	w.Helper()
	return w.l.Must(w, body, reads...)
}

// no applies a command that must be refused with the code, with a sentence for the
// user and without any trace in the rows or the log.
func (w *world) no(code state.Code, body command.Body, reads ...command.RowRef) state.Outcome {
	w.Helper()
	before, size := dump(w.l.Rows()), w.l.View().Position().LogSize
	o := w.l.Do(w, body, reads...)
	if o.Code != code {
		w.Fatalf("%s: outcome %q (%s: %s), want %q", body.Kind(), o.Code, o.Subject, o.Detail, code)
	}
	if o.Detail == "" || o.Err() == nil {
		w.Errorf("%s: refused without a word", body.Kind())
	}
	if after := dump(w.l.Rows()); after != before {
		w.Errorf("%s was refused and left a trace:\n%s", body.Kind(), diff(before, after))
	}
	if got := w.l.View().Position().LogSize; got != size {
		w.Errorf("%s was refused and the log grew from %d to %d", body.Kind(), size, got)
	}
	return o
}

// dump is every row but meta, one a line.
func dump(r state.Reader) string {
	var b strings.Builder
	for _, t := range state.Tables {
		if t != state.TableMeta {
			r.Ascend(t, "", func(key string, row []byte) bool {
				fmt.Fprintf(&b, "%s %q %x\n", t, key, row)
				return true
			})
		}
	}
	return b.String()
}

func diff(before, after string) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, line := range strings.Split(before, "\n") {
		seen[line] = true
	}
	for _, line := range strings.Split(after, "\n") {
		if !seen[line] {
			b.WriteString("+ " + line + "\n")
		}
	}
	return b.String()
}

func (w *world) pass(d lifecycle.Milliseconds) {
	w.Helper()
	w.l.Pass(w, time.Duration(d)*time.Millisecond)
}

func (w *world) version(n uint64) *lifecycle.Version {
	w.Helper()
	v := w.l.View().Version(ci, n)
	if v == nil {
		w.Fatalf("there is no version %d", n)
	}
	return v
}

func (w *world) instance(n uint64, node int) *lifecycle.Instance {
	w.Helper()
	i := w.l.View().Instance(ci, n, w.nodes[node])
	if i == nil {
		w.Fatalf("node %d has no instance of version %d", node, n)
	}
	return i
}

// state asserts a version's state.
func (w *world) state(n uint64, want lifecycle.State) {
	w.Helper()
	if got := w.version(n).State; got != want {
		w.Errorf("version %d is %s, want %s", n, got, want)
	}
}

// signs asserts which nodes may sign with a version.
func (w *world) signs(n uint64, want ...int) {
	w.Helper()
	var got []int
	for node := range w.nodes {
		if i := w.l.View().Instance(ci, n, w.nodes[node]); i != nil && i.MaySign(w.version(n)) {
			got = append(got, node)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("version %d may sign on nodes %v, want %v", n, got, want)
	}
}

// trusts asserts whose public keys of a version are in the trust set.
func (w *world) trusts(n uint64, want ...int) {
	w.Helper()
	var got []int
	for node := range w.nodes {
		if i := w.l.View().Instance(ci, n, w.nodes[node]); i != nil && i.InTrustSet(w.version(n)) {
			got = append(got, node)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("version %d is trusted on nodes %v, want %v", n, got, want)
	}
}

func policy() lifecycle.Policy { return lifecycle.DefaultPolicy(lifecycle.ForToken, lifecycle.ES256) }

func intents(key lifecycle.KeyID, n uint64, nodes ...lifecycle.NodeID) (out []command.Intent) {
	for _, node := range nodes {
		out = append(out, command.Intent{Node: node, CKAID: ledgertest.CKAID(fmt.Sprint(key, n, node))})
	}
	return out
}

func newKey(name lifecycle.KeyID, nodes ...lifecycle.NodeID) *command.CreateKey {
	return &command.CreateKey{Name: name, Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Custody: lifecycle.Distributed,
		Owner: "platform", Reason: "signs build tokens", Policy: policy(), Instances: intents(name, 1, nodes...)}
}

func bind(key lifecycle.KeyID, n uint64, node lifecycle.NodeID) *command.BindInstance {
	spki := []byte(fmt.Sprintf("public key of %s/%d on %s", key, n, node))
	sum := sha256.Sum256(spki)
	return &command.BindInstance{Key: key, Version: n, Node: node, CKAID: ledgertest.CKAID(fmt.Sprint(key, n, node)),
		SPKI: spki, KID: base64.RawURLEncoding.EncodeToString(sum[:]), Driver: "soft", Attributes: []string{"CKA_SENSITIVE=true"}}
}

// prepared makes version n (1 makes the key) with a pending instance on each node.
func (w *world) prepared(n uint64) *world {
	w.Helper()
	if n == 1 {
		w.ok(newKey(ci, w.nodes...))
	} else {
		w.ok(&command.PrepareVersion{Key: ci, Version: n, Instances: intents(ci, n, w.nodes...)})
	}
	return w
}

// bound goes on to where every instance is ready.
func (w *world) bound(n uint64) *world {
	w.Helper()
	w.prepared(n)
	for _, node := range w.nodes {
		w.ok(bind(ci, n, node))
	}
	return w
}

// published goes on to where the version is in the trust set.
func (w *world) published(n uint64) *world {
	w.Helper()
	w.bound(n).ok(&command.PublishVersion{Key: ci, Version: n})
	return w
}

// active goes on to where the version signs on every node.
func (w *world) active(n uint64) *world {
	w.Helper()
	w.published(n).pass(lifecycle.Hour)
	w.ok(&command.ActivateVersion{Key: ci, Version: n})
	return w
}

// deactivated goes on to where the version has a successor and only verifies.
func (w *world) deactivated(n uint64) *world {
	w.Helper()
	return w.active(n).active(n + 1)
}

func revoke(reason lifecycle.Reason, versions ...uint64) *command.Revoke {
	return &command.Revoke{Key: ci, Versions: versions, Reason: reason}
}
