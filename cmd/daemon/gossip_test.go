package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// ringer is a ring over a file in memory.
type ringer struct {
	*gossipRing
	file, used [][]byte
	at         time.Time
	full       error
}

func newRinger(keys ...[]byte) *ringer {
	r := &ringer{file: keys, used: keys, at: time.Unix(1767355200, 0)}
	r.gossipRing = &gossipRing{keys: keys, changed: r.at, now: func() time.Time { return r.at }, log: slog.New(slog.DiscardHandler),
		write: func(k [][]byte) error {
			if r.full == nil {
				r.file = k
			}
			return r.full
		},
		use: func(k [][]byte) error { r.used = k; return nil }}
	return r
}

// named is what the log says of a key, at the ringer's present time.
func (r *ringer) named(generation uint64, digest []byte) *lifecycle.GossipKey {
	return &lifecycle.GossipKey{Generation: generation, Digest: digest, Rotated: lifecycle.Origin{At: lifecycle.Instant(r.at.UnixMilli())}}
}

func (r *ringer) holds(t *testing.T, what string, keys ...[]byte) {
	t.Helper()
	for place, got := range map[string][][]byte{"the file": r.file, "memberlist": r.used, "the ring": r.keys} {
		if !equalKeys(got, keys) {
			t.Errorf("%s: %s holds %d keys, or others than the %d it should", what, place, len(got), len(keys))
		}
	}
}

func equalKeys(a, b [][]byte) bool {
	return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) && len(a) == len(b)
}

func (r *ringer) settled(t *testing.T, newest *lifecycle.GossipKey) {
	t.Helper()
	if err := r.settle(newest); err != nil {
		t.Fatal(err)
	}
}

// TestGossipRing plays a rotation on the leader that draws, on a member that fetches,
// and on one that was away.
func TestGossipRing(t *testing.T) {
	old := newGossipKey()
	leader, member, away := newRinger(old), newRinger(old), newRinger(old)
	digest, err := leader.Draw(nil)
	if err != nil {
		t.Fatal(err)
	}
	next := leader.keys[1]
	leader.holds(t, "drawn", old, next)
	if again, err := leader.Draw(nil); err != nil || !bytes.Equal(again, digest) {
		t.Errorf("a repeated request draws another key: %v", err)
	}
	if got := leader.shared(nil); !equalKeys(got, [][]byte{old}) {
		t.Error("a key was given away that no entry names")
	}
	leader.at = leader.at.Add(2 * gossipSwitch)
	leader.settled(t, nil)
	leader.holds(t, "drawn and not committed", old, next)

	entry := leader.named(1, digest)
	member.at, away.at = leader.at, leader.at
	if leader.lacks(entry) || !member.lacks(entry) || member.lacks(nil) {
		t.Error("who lacks the key is told wrongly")
	}
	if err := member.take(entry, [][]byte{old, newGossipKey(), []byte("short"), nil}); err == nil {
		t.Error("took a key that the entry does not name")
	}
	member.holds(t, "false keys", old)
	if err := member.take(entry, append([][]byte{newGossipKey()}, leader.shared(entry)...)); err != nil {
		t.Fatal(err)
	}
	member.holds(t, "fetched", old, next)
	member.settled(t, entry)
	member.holds(t, "only understood", old, next)
	member.at = member.at.Add(gossipSwitch)
	member.settled(t, entry)
	member.holds(t, "switched", next, old)
	member.at = member.at.Add(gossipRetire - time.Second)
	member.settled(t, entry)
	member.holds(t, "the old one is understood", next, old)
	member.at = member.at.Add(time.Second)
	member.settled(t, entry)
	member.holds(t, "retired", next)
	member.settled(t, entry)

	away.settled(t, entry)
	away.holds(t, "without the key the old one goes on", old)
	away.at = away.at.Add(100 * gossipRetire)
	away.settled(t, entry)
	away.holds(t, "for however long", old)
	if err := away.take(entry, member.shared(entry)); err != nil {
		t.Fatal(err)
	}
	away.settled(t, entry)
	away.holds(t, "the others have switched long ago", next, old)
}

// TestGossipRingFails: what cannot be written is not used, and what was never
// committed is forgotten.
func TestGossipRingFails(t *testing.T) {
	old := newGossipKey()
	r := newRinger(old)
	r.full = errors.New("disk full")
	if _, err := r.Draw(nil); !errors.Is(err, r.full) {
		t.Errorf("drew on a full disk: %v", err)
	}
	r.holds(t, "disk full", old)
	if r.full = nil; r.drawn != nil {
		t.Error("remembers a key that is on no disk")
	}
	if _, err := r.Draw(nil); err != nil {
		t.Fatal(err)
	}
	r.at = r.at.Add(gossipRetire)
	r.settled(t, nil)
	r.holds(t, "never committed", old)

	var newest []byte
	for n := 1; n < maxGossipKeys; n++ {
		digest, err := r.Draw(newest)
		if err != nil || bytes.Equal(digest, newest) {
			t.Fatalf("rotation %d: %v", n, err)
		}
		newest = digest
	}
	var refused *authority.Refusal
	if _, err := r.Draw(newest); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("%d keys: %v", len(r.keys), err)
	}
	last := r.keys[len(r.keys)-1]
	r.at = r.at.Add(gossipSwitch)
	entry := r.named(uint64(maxGossipKeys-1), newest)
	r.settled(t, entry)
	r.at = r.at.Add(gossipRetire)
	r.settled(t, entry)
	r.holds(t, "after many rotations", last)
}

// TestGossipKeyReachesMembers: a member gets a new key from the leader by itself, also
// one that was away when it was drawn.
func TestGossipKeyReachesMembers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first, second := configure(t, "n1"), configure(t, "n2")
	admin := filepath.Join(t.TempDir(), "admin")
	if _, err := Init(ctx, first, admin, "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	start(t, first)
	c, err := client.New(client.Config{Addrs: []string{first.Advertise.API}, CAFile: filepath.Join(admin, "ca.pem"),
		CertFile: filepath.Join(admin, "admin.crt"), KeyFile: filepath.Join(admin, "admin.key"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	enter(ctx, t, c, second)
	n2 := start(t, second)
	if _, err := c.RotateGossipKey(ctx); err != nil {
		t.Fatal(err)
	}
	one := awaitGossipKey(ctx, t, c, first, second)
	n2.stop(t)
	if _, err := c.RotateGossipKey(ctx); err != nil {
		t.Fatal(err)
	}
	awaitGossipKey(ctx, t, c, first)
	start(t, second)
	if two := awaitGossipKey(ctx, t, c, first, second); one.Generation != 1 || two.Generation != 2 || bytes.Equal(one.Digest, two.Digest) {
		t.Errorf("rotated twice: %+v, then %+v", one, two)
	}
}

// awaitGossipKey waits until the key that the cluster names is on each node's disk,
// where nobody else can read it.
func awaitGossipKey(ctx context.Context, t *testing.T, c *client.Client, configs ...Config) wire.GossipKey {
	t.Helper()
	cl, err := c.Cluster(ctx, client.Consistency(wire.Linearizable))
	if err != nil || cl.Gossip == nil {
		t.Fatalf("the cluster names no gossip key: %v", err)
	}
	for _, conf := range configs {
		path := filepath.Join(conf.DataDir, "identity", gossipFile)
		for !holdsKey(t, path, cl.Gossip.Digest) {
			if ctx.Err() != nil {
				t.Fatalf("%s has not got generation %d", conf.NodeName, cl.Gossip.Generation)
			}
			time.Sleep(10 * time.Millisecond) // between two looks
		}
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, i, err)
		}
	}
	return *cl.Gossip
}

func holdsKey(t *testing.T, path string, digest []byte) bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	if err := json.Unmarshal(b, &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if bytes.Equal(gossipDigest(k), digest) {
			return true
		}
	}
	return false
}
