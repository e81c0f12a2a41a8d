package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/peer"
	"github.com/chancery-project/chancery/transport/wire"
)

// How a rotation of the gossip key goes on after its entry.
const (
	gossipTick = 2 * time.Second

	// gossipSwitch is how long a new key is only understood. Members that are up have
	// fetched it after some ticks; who comes later is not heard until it has.
	gossipSwitch = 30 * time.Second

	// gossipRetire is how long the old keys are understood after that.
	gossipRetire = 10 * time.Minute

	// maxGossipKeys bounds what is tried on each packet. More rotations than that
	// within gossipRetire are refused.
	maxGossipKeys = 8
)

// gossipRing is this node's gossip keys, in memory, in gossip.keys and in memberlist.
// The log names the newest by its digest and this ring follows: a key is taken from
// any member that has it and believed by that digest alone, understood at once, sent
// with after gossipSwitch, and the only one gossipRetire later.
//
// Gossip carries no authority. A key that nobody has any more, because the leader that
// drew it was lost first, leaves everybody with the old one: rotate again.
type gossipRing struct {
	write func([][]byte) error // to the disk
	use   func([][]byte) error // in memberlist
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	keys    [][]byte  // the first is sent with; guarded by mu, as all that follows
	drawn   []byte    // one of keys that no entry has named yet; nil = none. It leaves this node only once one has
	changed time.Time // when keys changed in this process, or it began
}

// gossipDigest is by what a key is known. The key has 256 random bits, so that it
// cannot be found from this.
func gossipDigest(key []byte) []byte {
	sum := sha256.Sum256(append([]byte("chancery gossip key\n"), key...))
	return sum[:]
}

func newGossipRing(p *place, use func([][]byte) error, log *slog.Logger) *gossipRing {
	return &gossipRing{write: p.writeGossip, use: use, now: time.Now, log: log, keys: p.gossip, changed: time.Now()}
}

// writeGossip replaces gossip.keys.
func (p *place) writeGossip(keys [][]byte) error {
	b, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("encode the gossip keys: %w", err)
	}
	if err := disk.WriteFileAtomic(p.path(gossipFile), b, disk.FileMode); err != nil {
		return fmt.Errorf("write the gossip keys: %w", err)
	}
	return nil
}

// set replaces the keys, on the disk first. The caller holds mu.
func (r *gossipRing) set(keys [][]byte) error {
	if err := r.write(keys); err != nil {
		return err
	}
	r.keys, r.changed = keys, r.now()
	return r.use(keys)
}

// with finds the key of a digest, -1 = it is not here. The caller holds mu.
func (r *gossipRing) with(digest []byte) int {
	return slices.IndexFunc(r.keys, func(k []byte) bool { return bytes.Equal(gossipDigest(k), digest) })
}

// Draw implements authority.GossipKeys.
func (r *gossipRing) Draw(newest []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drawn != nil && !bytes.Equal(gossipDigest(r.drawn), newest) {
		return gossipDigest(r.drawn), nil
	}
	if len(r.keys) >= maxGossipKeys {
		return nil, &authority.Refusal{Code: string(wire.LimitReached), Message: fmt.Sprintf("%d older gossip keys are still understood", len(r.keys)-1),
			Hint: fmt.Sprintf("try again %s after the last rotation", gossipSwitch+gossipRetire)}
	}
	key := newGossipKey()
	if err := r.set(append(slices.Clone(r.keys), key)); err != nil {
		return nil, fmt.Errorf("draw a gossip key: %w", err)
	}
	r.drawn = key
	return gossipDigest(key), nil
}

// shared is what other members may have: nothing that no entry has named. newest is
// the key that one has named, nil = none.
func (r *gossipRing) shared(newest *lifecycle.GossipKey) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.keys)
	if r.drawn != nil && (newest == nil || !bytes.Equal(gossipDigest(r.drawn), newest.Digest)) {
		out = slices.DeleteFunc(out, func(k []byte) bool { return bytes.Equal(k, r.drawn) })
	}
	return out
}

// current is all of them, for memberlist to begin with.
func (r *gossipRing) current() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

func (r *gossipRing) lacks(newest *lifecycle.GossipKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return newest != nil && r.with(newest.Digest) < 0
}

// take puts the one key that the digest names among those that are understood; what
// else another node offers is nothing to this one.
func (r *gossipRing) take(newest *lifecycle.GossipKey, offered [][]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range offered {
		if len(key) != gossipKeyBytes || !bytes.Equal(gossipDigest(key), newest.Digest) {
			continue
		}
		if r.with(newest.Digest) >= 0 {
			return nil
		}
		r.log.Info("got the new gossip key", "generation", newest.Generation)
		return r.set(append(slices.Clone(r.keys), key))
	}
	return fmt.Errorf("none of its %d keys is that of generation %d", len(offered), newest.Generation)
}

// settle sends with the newest key when the others have had the time to get it, and
// then forgets what was before it.
func (r *gossipRing) settle(newest *lifecycle.GossipKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.now().Sub(r.changed)
	if newest != nil {
		if r.drawn != nil && bytes.Equal(gossipDigest(r.drawn), newest.Digest) {
			r.drawn = nil
		}
		at := r.with(newest.Digest)
		if at < 0 {
			return nil
		}
		// A node that was away gets a key that the others have gone over to already.
		late := r.now().UnixMilli()-int64(newest.Rotated.At) >= gossipSwitch.Milliseconds()
		if at > 0 {
			if since < gossipSwitch && !late {
				return nil
			}
			r.log.Info("gossip goes over to the new key", "generation", newest.Generation)
			return r.set(append([][]byte{r.keys[at]}, slices.Delete(slices.Clone(r.keys), at, at+1)...))
		}
	}
	if len(r.keys) == 1 || since < gossipRetire {
		return nil
	}
	r.log.Info("older gossip keys are not understood any more", "keys", len(r.keys)-1)
	r.drawn = nil // an entry that names it after so long names a key that nobody has
	return r.set(r.keys[:1:1])
}

// useGossipKeys hands them to memberlist, once it runs.
func (d *Daemon) useGossipKeys(keys [][]byte) error {
	if g := d.gossip.Load(); g != nil {
		return g.Use(keys)
	}
	return nil
}

// tendGossip follows the gossip key that the log names until ctx ends.
func (d *Daemon) tendGossip(ctx context.Context) {
	tick := time.NewTicker(gossipTick)
	defer tick.Stop()
	said := ""
	for {
		err := d.followGossipKey(ctx)
		switch {
		case err == nil:
			said = ""
		case err.Error() != said && ctx.Err() == nil:
			said = err.Error()
			d.log.Warn("follow the gossip key: until then this node may miss address hints, and nothing else", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// followGossipKey does the next step. It needs a state that is known to be fresh: one
// that is being replayed names keys that were retired long ago.
func (d *Daemon) followGossipKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	v, err := d.node.Read(ctx, ledger.Freshness{Level: ledger.Bounded})
	if err != nil || !v.Fresh || v.Cluster() == nil {
		return nil // without a leader nothing is rotated either
	}
	newest := v.Cluster().GossipKey
	if me := v.Node(d.node.NodeID()); me == nil || me.Status != lifecycle.Member {
		return nil // a node in quarantine is given no new key
	}
	if d.ring.lacks(newest) {
		if err := d.fetchGossipKey(ctx, v.View, newest); err != nil {
			return fmt.Errorf("%w; if no member has it, rotate again: chancery cluster rotate-gossip-key", err)
		}
	}
	return d.ring.settle(newest)
}

// fetchGossipKey asks the leader, then the other members: whoever has the key has the
// right one.
func (d *Daemon) fetchGossipKey(ctx context.Context, v *state.View, newest *lifecycle.GossipKey) error {
	var ask []lifecycle.NodeID
	for _, n := range v.Nodes() {
		if n.Status == lifecycle.Member && n.ID != d.node.NodeID() {
			ask = append(ask, n.ID)
		}
	}
	leader := d.node.Leadership().Leader
	slices.SortStableFunc(ask, func(a, b lifecycle.NodeID) int {
		switch {
		case a == leader && b != leader:
			return -1
		case b == leader && a != leader:
			return 1
		}
		return 0
	})
	err := errors.New("there is no other member")
	for _, id := range ask {
		var keys [][]byte
		one, cancel := context.WithTimeout(ctx, gossipTick)
		keys, err = peer.Call[empty, [][]byte](one, d.client, id, verbGossipKey, empty{})
		cancel()
		if err == nil {
			err = d.ring.take(newest, keys)
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("fetch it from node %s: %w", id.Short(), err)
	}
	return err
}

// gossipKeys hands the ring to members that missed a rotation.
type gossipKeys struct {
	ring *gossipRing
	view func() *state.View
}

func (g *gossipKeys) handle(_ context.Context, from peer.From, _ empty) ([][]byte, error) {
	v := g.view()
	if n := v.Node(from.Node); n == nil || n.Status != lifecycle.Member {
		return nil, errors.New("only members get the gossip keys")
	}
	return g.ring.shared(v.Cluster().GossipKey), nil
}
