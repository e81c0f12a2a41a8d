package integration

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestFourthNode lets a node in by a token: it gets an instance of each key that is in
// use, publishes it, signs after the lead and not before, and leaves. Nobody else's
// kid changes, while another key is rotated.
func TestFourthNode(t *testing.T) {
	t.Parallel()
	const lead = 2 * time.Second
	c := startCluster(t, 3)
	c.createKey("ci", `{"lead":"2s"}`)
	c.createKey("svc", `{"lead":"2s"}`)
	before := kids(c, "ci", 1)

	n4 := c.join()
	if s, err := c.sign(n4, "ci", "too early"); err == nil {
		t.Fatalf("a member without the right to sign signed with %s", s.KID)
	}
	if _, err := c.admin.Rotate(ctx(t), "svc", wire.Rotate{}); err != nil {
		t.Fatalf("rotate svc: %v", err)
	}
	c.promote(n4)
	first, early := untilSigned(c, n4, "ci")
	i := instance(c, "ci", 1, n4)
	if i == nil || i.Condition != lifecycle.Ready {
		t.Fatalf("the instance of n4 is %+v", i)
	}
	if early[wire.InstanceNotHere] == 0 {
		t.Errorf("n4 was refused for %v, never because its instance waits for the lead", early)
	}
	if published := i.PublishedAt.Time(); first.Before(published.Add(lead)) {
		t.Errorf("n4 signed %s after its key was published, before the lead of %s", first.Sub(published), lead)
	}
	for _, n := range c.nodes {
		if set := jwks(t, c, n, "ci"); !strings.Contains(set, string(i.KID)) {
			t.Errorf("%s does not publish the kid of n4: %s", n.name, set)
		}
	}
	after := kids(c, "ci", 1)
	delete(after, "n4")
	if !maps.Equal(before, after) {
		t.Errorf("the kids of the others changed from %v to %v", before, after)
	}

	eventually(t, 20*time.Second, "all four sign with version 2 of svc", func() string {
		for _, n := range c.nodes {
			if s, err := c.sign(n, "svc", "x"); err != nil {
				return err.Error()
			} else if s.Version != 2 {
				return n.name + " still signs with version 1"
			}
		}
		return ""
	})
	leave(c, n4, before)
}

// untilSigned asks the node again and again; it returns when the first signature was
// asked for, and counts why it was refused before.
func untilSigned(c *lab, n *node, key string) (at time.Time, refused map[wire.Code]int) {
	c.t.Helper()
	refused = map[wire.Code]int{}
	eventually(c.t, 20*time.Second, n.name+" signs with "+key, func() string {
		at = time.Now()
		if _, err := c.sign(n, key, "x"); err != nil {
			refused[wire.CodeOf(err)]++
			return err.Error()
		}
		at = time.Now() // it was released between the two; the later is the fair one
		return ""
	})
	return at, refused
}

// leave takes the node out: first its right to sign, then its membership.
func leave(c *lab, n *node, others map[string]string) {
	t := c.t
	t.Helper()
	if _, err := c.admin.Quarantine(ctx(t), n.name, wire.Quarantine{Reason: "it is sold"}); err != nil {
		t.Fatalf("quarantine: %v", err)
	}
	eventually(t, 10*time.Second, "a quarantined node refuses to sign", func() string {
		if _, err := c.sign(n, "ci", "x"); err == nil {
			return "it signs"
		}
		return ""
	})
	if _, err := c.admin.RemoveNode(ctx(t), n.name, wire.RemoveNode{Reason: "it is sold"}); err != nil {
		t.Fatalf("remove: %v", err)
	}
	c.nodes = c.others(n)
	defer n.kill()
	show, err := c.admin.Node(ctx(t), n.name)
	if err != nil || show.Status != lifecycle.Removed {
		t.Errorf("the removed node is %+v, %v", show, err)
	}
	if s, err := c.sign(n, "ci", "after it left"); err == nil {
		t.Errorf("a removed node signed with %s", s.KID)
	}
	if now := kids(c, "ci", 1); !maps.Equal(others, now) {
		t.Errorf("after it left the kids are %v, they were %v", now, others)
	}
	for _, m := range c.nodes {
		if s := c.mustSign(m, "ci"); s.KID != others[m.name] {
			t.Errorf("%s signs with %s, it had %s", m.name, s.KID, others[m.name])
		}
	}
	checkAgreement(t, c)
}

// kids maps each node to the kid of its instance, those that may sign.
func kids(c *lab, key string, version uint64) map[string]string {
	c.t.Helper()
	out := map[string]string{}
	k, err := c.admin.Key(ctx(c.t), key, client.Consistency(wire.Linearizable))
	if err != nil {
		c.t.Fatalf("show %s: %v", key, err)
	}
	for _, v := range k.Versions {
		for _, i := range v.Instances {
			if v.Version == version && i.Condition == lifecycle.Ready {
				out[i.Node] = string(i.KID)
			}
		}
	}
	return out
}

// instance of one node, nil when there is none.
func instance(c *lab, key string, version uint64, n *node) *wire.Instance {
	c.t.Helper()
	k, err := c.admin.Key(ctx(c.t), key, client.Consistency(wire.Linearizable))
	if err != nil {
		c.t.Fatalf("show %s: %v", key, err)
	}
	for _, v := range k.Versions {
		j := slices.IndexFunc(v.Instances, func(i wire.Instance) bool { return i.Node == n.name })
		if v.Version == version && j >= 0 {
			return &v.Instances[j]
		}
	}
	return nil
}

// jwks is what the public listener of a node serves for a key.
func jwks(t *testing.T, c *lab, n *node, key string) string {
	t.Helper()
	r, err := prober.Get("http://" + n.public + wire.Path(wire.PathKeyJWKS, key))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("JWKS of %s: %s %s %v", n.name, r.Status, b, err)
	}
	return string(b)
}
