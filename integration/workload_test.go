package integration

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Shape of the load. A key lives for opsPerKey changes and reads, which keeps the
// checker's work per key small, and is then revoked for good.
const (
	slots      = 4 // keys in use at the same time
	workers    = 3 // callers of one key, beside one that signs
	opsPerKey  = 150
	thinkFor   = 30 * time.Millisecond // longest pause of a caller
	signLease  = 4 * time.Second       // no node signs so long after a commit that it did not hear of (PROTOCOL: W)
	maxWorking = 10                    // porcupine's cost grows with what runs at once
)

var _ [maxWorking - workers]struct{} // FAULTS.md 8.2: at most ten at once on one key

// workload drives keys through their lives and records what it was answered.
type workload struct {
	c     *lab
	start time.Time
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu       sync.Mutex // guards the rest
	history  []porcupine.Operation
	acked    map[string]keyOp // by request id: what must never be lost
	unknown  int
	ended    map[string]map[uint64]time.Duration // key -> version -> when nobody may be asked to sign with it any more
	signed   []signed
	surprise []string
	clients  int
}

// signed is a signature that a caller holds.
type signed struct {
	call time.Duration
	key  string
	text string
	wire.Signature
}

// startWorkload starts the callers. They go on until finish.
func startWorkload(c *lab, random *rand.Rand) *workload {
	ctx, cancel := context.WithCancel(context.Background())
	w := &workload{c: c, start: time.Now(), stop: cancel, acked: map[string]keyOp{}, ended: map[string]map[uint64]time.Duration{}}
	for s := range slots {
		seed := random.Uint64()
		w.wg.Go(func() { w.slot(ctx, s, seed) })
	}
	return w
}

// finish lets every caller end what it has begun.
func (w *workload) finish() {
	w.stop()
	w.wg.Wait()
}

// slot lives through one key after another.
func (w *workload) slot(ctx context.Context, slot int, seed uint64) {
	for generation := 0; ctx.Err() == nil; generation++ {
		key := fmt.Sprintf("k%d-%d", slot, generation)
		lead := &caller{w: w, key: key, client: w.c.client(), random: rand.New(rand.NewPCG(seed, uint64(generation))), versions: 1}
		lead.change(context.WithoutCancel(ctx), keyOp{verb: "create"})
		var wg sync.WaitGroup
		signing, done := context.WithCancel(ctx)
		for i := range workers {
			k := &caller{w: w, key: key, client: w.c.client(), random: rand.New(rand.NewPCG(seed, uint64(generation)<<16+uint64(i)+1)), versions: 1}
			wg.Go(func() { k.live(ctx, opsPerKey/workers) })
		}
		signer := &caller{w: w, key: key, client: w.c.client(), random: rand.New(rand.NewPCG(seed, uint64(generation)<<16+99))}
		var signs sync.WaitGroup
		signs.Go(func() { signer.sign(signing) })
		wg.Wait()
		lead.change(context.WithoutCancel(ctx), keyOp{verb: "revoke", reason: lifecycle.KeyCompromise})
		lead.read(context.WithoutCancel(ctx))
		done()
		signs.Wait()
	}
}

// caller is one client with one key.
type caller struct {
	w        *workload
	key      string
	client   *client.Client
	random   *rand.Rand
	versions uint64         // as far as this caller has seen
	seen     []wire.Version // by the last read, oldest first
}

// live makes n changes and reads, with pauses.
func (k *caller) live(ctx context.Context, n int) {
	defer k.client.Close()
	for range n {
		if ctx.Err() != nil {
			return
		}
		// An operation that was begun is ended: what it came to must be known.
		k.one(context.WithoutCancel(ctx))
		pause(ctx, time.Duration(k.random.Int64N(int64(thinkFor))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// one does what is most often possible in the state last seen, and sometimes anything.
func (k *caller) one(ctx context.Context) {
	version := k.versions // mostly the newest
	if k.random.IntN(4) == 0 {
		version = 1 + k.random.Uint64N(k.versions)
	}
	switch n := k.random.IntN(100); {
	case n < 40:
		k.read(ctx)
	case n < 80:
		k.change(ctx, k.fitting(version))
	default:
		k.change(ctx, keyOp{verb: changes[k.random.IntN(len(changes))], version: version, reason: reasons[k.random.IntN(len(reasons))]})
	}
}

var (
	changes = []string{"rotate", "activate", "suspend", "resume", "resume", "deactivate", "revoke"}
	reasons = []lifecycle.Reason{lifecycle.Superseded, lifecycle.CertificateHold, lifecycle.KeyCompromise}
)

// fitting chooses a change that the version allowed when this caller last looked.
func (k *caller) fitting(version uint64) keyOp {
	op := keyOp{verb: "rotate"}
	if version > uint64(len(k.seen)) {
		return op
	}
	switch k.seen[version-1].State {
	case lifecycle.PreActivation:
		op = keyOp{verb: "activate", version: version}
	case lifecycle.Active:
		if k.random.IntN(2) == 0 {
			op = keyOp{verb: "suspend", version: version}
		}
	case lifecycle.Suspended:
		op = keyOp{verb: "resume", version: version}
	}
	return op
}

// change asks for one change and records its answer.
func (k *caller) change(ctx context.Context, op keyOp) {
	op.key = k.key
	id := client.NewRequestID()
	call := time.Since(k.w.start)
	answer, err := k.ask(ctx, op, client.WithRequestID(id))
	a := keyAnswer{}
	var refused *wire.Error
	var unknown *client.OutcomeUnknown
	var gone *client.Unavailable
	switch {
	case err == nil:
		if n := len(answer.Versions); op.verb == "rotate" && n == 1 {
			a.version = answer.Versions[0]
			k.versions = max(k.versions, a.version)
		}
	case errors.As(err, &unknown):
		a.unknown = true
	case errors.As(err, &gone):
		return // nothing was done, says the client: were it wrong, later reads would not fit
	case errors.As(err, &refused):
		a.code = refused.Code
	default:
		k.w.wonder("%s of %s: %v", op.verb, op.key, err)
		return
	}
	k.w.record(op, a, call, id)
	if err == nil && (op.verb == "revoke" && op.reason != lifecycle.CertificateHold || op.verb == "deactivate") {
		k.w.end(op, answer.Has(wire.Fenced))
	}
}

func (k *caller) ask(ctx context.Context, op keyOp, id client.Option) (*wire.Operation, error) {
	v := wire.VersionVerb{Version: op.version}
	switch op.verb {
	case "create":
		return k.client.CreateKey(ctx, wire.CreateKey{Name: op.key, Purpose: "artifact", Alg: "ES256", Owner: "lab@example.com", BusinessReason: "load"}, id, client.Wait(wire.Committed, 0))
	case "rotate":
		return k.client.Rotate(ctx, op.key, wire.Rotate{}, id, client.Wait(wire.Committed, 0))
	case "activate":
		v.Early, v.Comment = true, "the test does not wait for the lead"
		return k.client.Activate(ctx, op.key, v, id)
	case "suspend":
		return k.client.Suspend(ctx, op.key, v, id)
	case "resume":
		return k.client.Resume(ctx, op.key, v, id)
	case "deactivate":
		return k.client.Deactivate(ctx, op.key, v, id)
	case "revoke":
		r := wire.Revoke{Reason: op.reason}
		if op.version != 0 {
			r.Versions = []uint64{op.version}
		}
		return k.client.Revoke(ctx, op.key, r, id)
	}
	panic("no such verb: " + op.verb)
}

// read is a linearizable read on a node chosen by chance. The client that reads has
// seen nothing before: what it saw would make a stale node wait.
func (k *caller) read(ctx context.Context) {
	n := k.w.c.nodes[k.random.IntN(len(k.w.c.nodes))]
	fresh := k.w.c.client(n)
	defer fresh.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	call := time.Since(k.w.start)
	got, err := fresh.Key(ctx, k.key, client.Consistency(wire.Linearizable), client.At(n.api))
	var refused *wire.Error
	a := keyAnswer{}
	switch {
	case err == nil:
		k.versions = max(k.versions, uint64(len(got.Versions)))
		slices.SortFunc(got.Versions, func(a, b wire.Version) int { return cmp.Compare(a.Version, b.Version) })
		k.seen = got.Versions
		a.states = rendered(got.Versions)
	case errors.As(err, &refused) && refused.Code == wire.KeyNotFound:
		a.code = refused.Code
	default:
		return // the node is down, or says that it cannot tell
	}
	k.w.record(keyOp{key: k.key, verb: "read"}, a, call, "")
}

// rendered is the list of versions as the model writes it.
func rendered(vs []wire.Version) string {
	var out []string
	for _, v := range vs {
		out = append(out, fmt.Sprintf("%d:%s", v.Version, v.State))
	}
	return strings.Join(out, " ")
}

// sign signs on one node after another.
func (k *caller) sign(ctx context.Context) {
	defer k.client.Close()
	for i := 0; ctx.Err() == nil; i++ {
		n := k.w.c.nodes[i%len(k.w.c.nodes)]
		text := fmt.Sprintf("%s %d", k.key, i)
		call := time.Since(k.w.start)
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		s, err := k.client.Sign(within, k.key, wire.SignRequest{Message: []byte(text)}, client.At(n.api))
		cancel()
		if err == nil {
			k.w.mu.Lock()
			k.w.signed = append(k.w.signed, signed{call, k.key, text, *s})
			k.w.mu.Unlock()
		}
		pause(ctx, time.Duration(k.random.Int64N(int64(thinkFor))))
	}
}

func (w *workload) record(op keyOp, a keyAnswer, call time.Duration, id string) {
	now := time.Since(w.start)
	w.mu.Lock()
	defer w.mu.Unlock()
	back := now
	if a.unknown {
		w.unknown++
		back = 1 << 62 // it may still happen
	}
	w.clients++
	w.history = append(w.history, porcupine.Operation{ClientId: w.clients % 100, Input: op, Call: int64(call), Output: a, Return: int64(back)})
	if a.unknown || a.code != "" || op.verb == "read" {
		return
	}
	w.acked[id] = op
}

// end notes that a version will never sign again: from now on when it is fenced, when
// all leases have run out otherwise.
func (w *workload) end(op keyOp, fenced bool) {
	at := time.Since(w.start)
	if !fenced {
		at += signLease
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended[op.key] == nil {
		w.ended[op.key] = map[uint64]time.Duration{}
	}
	if _, known := w.ended[op.key][op.version]; !known {
		w.ended[op.key][op.version] = at // version 0: all of them
	}
}

func (w *workload) wonder(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.surprise = append(w.surprise, fmt.Sprintf(format, args...))
}

// check judges the whole run. The cluster must be up again.
func (w *workload) check(t *testing.T) {
	t.Helper()
	for _, s := range w.surprise {
		t.Error("an answer that no code stands for:", s)
	}
	kinds := map[string]int{}
	for _, o := range w.history {
		kind := o.Input.(keyOp).verb
		if a := o.Output.(keyAnswer); a.unknown {
			kind += " unknown"
		} else if a.code != "" {
			kind += " " + string(a.code)
		}
		kinds[kind]++
	}
	t.Logf("%d operations, %d acknowledged changes, %d unknown, %d signatures: %v", len(w.history), len(w.acked), w.unknown, len(w.signed), kinds)
	w.checkLinearizable(t)
	w.checkAcknowledged(t)
	w.checkSignatures(t)
	checkAgreement(t, w.c)
}

func (w *workload) checkLinearizable(t *testing.T) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(keyModel, w.history, 2*time.Minute)
	if result == porcupine.Ok {
		return
	}
	path := artifact(t, "history.html")
	if err := porcupine.VisualizePath(keyModel, info, path); err != nil {
		t.Error("draw the history:", err)
	}
	word := map[porcupine.CheckResult]string{porcupine.Illegal: "is not linearizable", porcupine.Unknown: "could not be judged in time (inconclusive)"}[result]
	t.Errorf("the history %s: see %s", word, path)
}

// checkAcknowledged asks every node for every request that was accepted.
func (w *workload) checkAcknowledged(t *testing.T) {
	t.Helper()
	for _, n := range w.c.nodes {
		k := w.c.client(n)
		lost := 0
		for id, op := range w.acked {
			got, err := k.Operation(ctx(t), id, client.At(n.api))
			if err == nil && got.Error == nil && got.Key == op.key {
				continue
			}
			if lost++; lost <= 5 {
				t.Errorf("acknowledged %s of %s (%s) on %s: %+v, %v", op.verb, op.key, id, n.name, got, err)
			}
		}
		k.Close()
		if lost > 0 {
			t.Errorf("%s does not know %d of %d acknowledged changes", n.name, lost, len(w.acked))
		}
	}
}

// checkSignatures verifies each signature with the public key that its kid names, and
// looks for one that was asked for well after its version had ended.
func (w *workload) checkSignatures(t *testing.T) {
	t.Helper()
	if len(w.signed) == 0 {
		t.Error("nobody signed anything: the load was no load")
	}
	public := map[string]*ecdsa.PublicKey{}
	known := map[string]bool{}
	for _, s := range w.signed {
		if !known[s.key] {
			known[s.key] = true
			publicKeys(t, w.c, s.key, public)
		}
		sum := sha256.Sum256([]byte(s.text))
		if p := public[s.KID]; p == nil || !ecdsa.VerifyASN1(p, sum[:], s.Signature.Signature) {
			t.Errorf("a signature of %s/%d by %s does not verify with its kid %s", s.key, s.Version, s.Node, s.KID)
		}
		for _, v := range []uint64{0, s.Version} {
			if at, ended := w.ended[s.key][v]; ended && s.call > at {
				t.Errorf("%s signed with %s/%d, asked %s after that had to have ended", s.Node, s.key, s.Version, s.call-at)
			}
		}
	}
}

// publicKeys collects the public keys of all instances by kid.
func publicKeys(t *testing.T, c *lab, key string, into map[string]*ecdsa.PublicKey) {
	t.Helper()
	k, err := c.admin.Key(ctx(t), key)
	if err != nil {
		t.Errorf("show %s: %v", key, err)
		return
	}
	for _, v := range k.Versions {
		for _, i := range v.Instances {
			block, _ := pem.Decode([]byte(i.PEM))
			if block == nil {
				continue // pending: it has none yet
			}
			p, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				t.Errorf("public key %s: %v", i.KID, err)
				continue
			}
			into[string(i.KID)] = p.(*ecdsa.PublicKey)
		}
	}
}
