package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/transport/wire"
)

// answer is what a node's public listener said of a key.
type answer struct {
	node  string
	key   string
	level string
	call  int64 // mono
	// Wall clock before the question was sent, and the as-of time of the answer,
	// milliseconds: all processes share one wall clock here.
	askedAt, asOf int64
	status        string
	version       uint64 // that signs, in the state at index
	index         uint64
}

// askStatus asks one node's public listener again and again, at both levels that it has.
func (r *trial) askStatus(n *node, think time.Duration, random *rand.Rand) {
	web := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: r.c.outside.Dial}}
	defer web.CloseIdleConnections()
	for r.ctx.Err() == nil {
		if key := r.key(random); key != "" {
			r.askOnce(web, n, key, []string{wire.Bounded, wire.Stale}[random.IntN(2)])
		}
		pause(r.ctx, time.Duration(random.Int64N(int64(think))))
	}
}

func (r *trial) askOnce(web *http.Client, n *node, key, level string) {
	a := answer{node: n.name, key: key, level: level, call: mono(), askedAt: time.Now().UnixMilli()}
	req, err := http.NewRequest(http.MethodGet, "http://"+n.public+wire.Path(wire.PathKeyStatus, key), nil)
	if err != nil {
		r.wonder("make a request: %v", err)
		return
	}
	req.Header.Set(wire.HeaderConsistency, level)
	resp, err := web.Do(req)
	if err != nil {
		r.told("status", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.told("status", wire.ReadError(resp.StatusCode, resp.Body))
		return
	}
	var s wire.KeyStatus
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		r.told("status", err)
		return
	}
	a.status, a.version, a.index, a.asOf = s.Status, s.ActiveVersion, s.Position.Index, int64(s.AsOf)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, a)
}

// readOn is one client that goes from node to node: linearizable reads for the
// model by clients that have seen nothing, and bounded ones that must never go back.
func (r *trial) readOn(think time.Duration, random *rand.Rand) {
	keeps := r.c.caller(0)
	defer keeps.Close()
	var seen uint64
	for r.ctx.Err() == nil {
		n := r.nodes[random.IntN(len(r.nodes))]
		key := r.key(random)
		if key == "" {
			pause(r.ctx, think)
			continue
		}
		r.readOnce(n, key)
		within, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		got, err := keeps.Key(within, key, client.At(n.api))
		cancel()
		switch {
		case errors.Is(err, client.ErrWentBack):
			r.wonder("a read on %s went back: %v", n.name, err)
		case err != nil:
			r.told("bounded read", err)
		case got.Position.Index < seen:
			r.wonder("a client that had seen %d was answered from %d by %s", seen, got.Position.Index, n.name)
		default:
			seen = got.Position.Index
		}
		pause(r.ctx, time.Duration(random.Int64N(int64(think))))
	}
}

func (r *trial) readOnce(n *node, key string) {
	fresh := r.c.caller(0, n)
	defer fresh.Close()
	within, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	call := mono()
	got, err := fresh.Key(within, key, client.Consistency(wire.Linearizable), client.At(n.api))
	if err != nil {
		r.told("linearizable read", err)
		return
	}
	slices.SortFunc(got.Versions, func(a, b wire.Version) int { return cmp.Compare(a.Version, b.Version) })
	r.add(keyOp{key: key, verb: "read"}, keyAnswer{states: rendered(got.Versions)}, call, mono())
}

// statusBound is how old a state may be that says good, where nobody asked for less.
const statusBound = ledger.DefaultBound
