package integration

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// canary stands in one row and in one log entry, so that their bytes can be found in a
// file that a running process holds.
const canary = "canary-e1a5f70cc2"

// TestAlteredReplica changes one row of a replica's state: of a follower that is
// stopped, and of the leader while it runs. That node stops, alone, and comes back as
// a new incarnation.
func TestAlteredReplica(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.createKey("ci", "")
	c.createCanary()
	c.agree()

	follower := c.others(c.leader())[0]
	follower.stop(t)
	alterRow(t, follower.data("state", "state.db"))
	follower.start(t)
	c.stopsAlone(follower)
	c.rebuild(follower)

	lead := c.leader()
	flipInPlace(t, lead.data("state", "state.db"))
	// A running node reads its file as a whole when it cuts a snapshot.
	if s, err := c.admin.Snapshot(ctx(t), client.At(lead.api)); err == nil {
		_, err = io.Copy(io.Discard, s)
		t.Logf("the snapshot of an altered state ended with %v", err)
		_ = s.Close() // it was read to its end, whatever that was
	}
	c.stopsAlone(lead)
	c.rebuild(lead)
	checkAgreement(t, c)
}

// TestFlippedRaftBit flips one bit of a stored Raft entry: of a follower that is
// stopped, and of the leader while it runs, in an entry that a node which was away
// still needs. The damaged entry is neither applied nor replicated.
func TestFlippedRaftBit(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	c := startCluster(t, 3)
	c.createKey("ci", "")
	c.agree()

	follower := c.others(c.leader())[0]
	follower.stop(t)
	flipEntry(t, follower.data("raft", "log.db"), random)
	follower.start(t)
	c.stopsAlone(follower)
	c.rebuild(follower)

	lead := c.leader()
	away := c.others(lead)[0]
	away.stop(t)
	c.createCanary()
	c.fillLog(600) // beyond what a node keeps in memory of its log
	lead = c.leader()
	flipInPlace(t, lead.data("raft", "log.db"))
	away.start(t)
	c.stopsAlone(lead)
	c.waitReady(away, "?for=sign")
	if p, err := c.admin.Principal(ctx(t), canary, client.At(away.api), client.Consistency(wire.Linearizable)); err != nil || p.Name != canary {
		t.Errorf("the entry whose bit was flipped reads %+v, %v on the node that was away", p, err)
	}
	c.rebuild(lead)
	checkAgreement(t, c)
}

// createCanary writes a row and an entry with the canary in it.
func (c *lab) createCanary() {
	c.t.Helper()
	p := wire.AddPrincipal{Name: canary, Kind: lifecycle.Service, Roles: []string{"auditor:*"}}
	if _, err := c.admin.AddPrincipal(ctx(c.t), p); err != nil {
		c.t.Fatalf("add the canary: %v", err)
	}
}

// fillLog makes n entries.
func (c *lab) fillLog(n int) {
	c.t.Helper()
	for i := range n {
		if _, err := c.admin.CreateToken(ctx(c.t), wire.CreateToken{Principal: canary, Label: "filler"}); err != nil {
			c.t.Fatalf("entry %d: %v", i, err)
		}
	}
}

// stopsAlone waits until the node has ended because of its damage, and wants the
// others to go on as if nothing were.
func (c *lab) stopsAlone(n *node) {
	t := c.t
	t.Helper()
	if code := n.wait(t, 30*time.Second); code != fsm.ExitUntrusted {
		t.Errorf("%s ended with exit code %d, want %d\n%s", n.name, code, fsm.ExitUntrusted, n.tail(10))
	}
	if !strings.Contains(n.tail(10), "chancery node rebuild") {
		t.Errorf("%s does not say what to do next\n%s", n.name, n.tail(10))
	}
	for _, m := range c.others(n) {
		if !m.alive() {
			t.Errorf("%s ended too", m.name)
			continue
		}
		c.mustSign(m, "ci")
	}
	if _, err := c.admin.Rotate(ctx(t), "ci", wire.Rotate{}); err != nil && wire.CodeOf(err) != wire.RotationOpen {
		t.Errorf("a write without %s: %v", n.name, err)
	}
}

// rebuild brings a stopped node back as a new incarnation: first without a vote.
func (c *lab) rebuild(n *node) {
	t := c.t
	t.Helper()
	before, err := c.admin.Node(ctx(t), n.name)
	if err != nil {
		t.Fatalf("show %s: %v", n.name, err)
	}
	kid := instance(c, "ci", 1, n).KID
	must(t, nil, "node", "rebuild", "--config", n.config)
	n.start(t)
	c.waitReady(n, "")
	eventually(t, 20*time.Second, n.name+" is a new incarnation without a vote", func() string {
		switch now, err := c.admin.Node(ctx(t), n.name); {
		case err != nil:
			return err.Error()
		case now.Incarnation == before.Incarnation:
			return "the cluster knows the old incarnation"
		case slices.Contains(now.Roles, "voter"):
			return "it has a vote"
		}
		return ""
	})
	c.promote(n)
	now, err := c.admin.Node(ctx(t), n.name)
	if err != nil || !slices.Contains(now.Roles, "voter") || now.ID != before.ID {
		t.Errorf("after promote %s is %+v, %v", n.name, now, err)
	}
	if s := c.mustSign(n, "ci"); s.KID != string(kid) {
		t.Errorf("%s signs with %s, its key store still held %s", n.name, s.KID, kid)
	}
}

// alterRow changes one byte of one row of a stopped node's state.
func alterRow(t *testing.T, path string) {
	t.Helper()
	inFile(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(state.TablePrincipals))
		row := bytes.Clone(b.Get([]byte(canary)))
		at := bytes.Index(row, []byte("auditor"))
		if at < 0 {
			t.Fatalf("the row of %s holds no role: %q", canary, row)
		}
		copy(row[at:], "Auditor")
		return b.Put([]byte(canary), row)
	})
}

// flipEntry flips one bit in one stored entry of a stopped node.
func flipEntry(t *testing.T, path string, random *rand.Rand) {
	t.Helper()
	inFile(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("logs"))
		var keys [][]byte
		if err := b.ForEach(func(k, _ []byte) error { keys = append(keys, bytes.Clone(k)); return nil }); err != nil {
			return err
		}
		k := keys[random.IntN(len(keys))]
		v := bytes.Clone(b.Get(k))
		at := random.IntN(len(v))
		v[at] ^= 1 << random.IntN(8)
		t.Logf("flipped a bit of byte %d of %d in entry %x", at, len(v), k)
		return b.Put(k, v)
	})
}

func inFile(t *testing.T, path string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}

// flipInPlace flips a bit of the canary wherever it stands in a file that a process
// holds open: it sees the change at once, because it maps the file.
func flipInPlace(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 0; ; found++ {
		i := bytes.Index(content[at:], []byte(canary))
		if i < 0 {
			break
		}
		at += i + len(canary) - 1
		if _, err := f.WriteAt([]byte{content[at] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Fatalf("%s is not in %s", canary, path)
	}
}
