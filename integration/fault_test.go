package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestSecondProcess starts a second server, and a rebuild, on a data directory that is
// in use: both are refused, and the first server does not notice.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	c.createKey("ci", "")
	for _, args := range [][]string{{"server"}, {"node", "rebuild"}, {"keystore", "check"}} {
		r := run(t, nil, append(args, "--config", c.nodes[0].config)...)
		if r.code != 1 || !strings.Contains(r.stderr, "data directory is in use") || !strings.Contains(r.stderr, "stop it first") {
			t.Errorf("%v beside the server ended with %d:\n%s", args, r.code, r.stderr)
		}
	}
	c.mustSign(c.nodes[0], "ci")
}

// TestFrozenLeader stops the leader's process for five seconds, with a refusal, a read
// and a signature waiting in its queue. Meanwhile the others elect a leader and move
// on; when the old one wakes up it may say nothing that was not true any more.
func TestFrozenLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.createKey("ci", "")
	c.createKey("gone", "")
	c.agree()
	old := c.leader()
	rest := c.others(old)
	atOld := c.client(old)
	defer atOld.Close()
	if _, err := atOld.Key(ctx(t), "ci"); err != nil { // a connection is open and accepted
		t.Fatal(err)
	}

	old.send(syscall.SIGSTOP)
	began := time.Now()
	waiting := ask(t, c, old)
	others := c.patientClient(2*time.Second, rest...)
	defer others.Close()
	eventually(t, 20*time.Second, "the others write without it", func() string {
		if _, err := others.Suspend(ctx(t), "ci", wire.VersionVerb{Version: 1}); err != nil && wire.CodeOf(err) != wire.IllegalTransition {
			return err.Error()
		}
		return ""
	})
	if _, err := others.Revoke(ctx(t), "gone", wire.Revoke{Reason: lifecycle.KeyCompromise}); err != nil {
		t.Fatalf("revoke: %v", err)
	}
	t.Logf("the others went on %s after the leader froze", time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Until(began.Add(5 * time.Second))) // how long it is frozen; nothing is asserted on it
	old.send(syscall.SIGCONT)

	for range cap(waiting) {
		if a := <-waiting; a != "" {
			t.Error(a)
		}
	}
	if s, err := c.sign(old, "gone", "after the revocation"); err == nil {
		t.Errorf("the old leader signed with %s after it woke up", s.KID)
	}
	eventually(t, 20*time.Second, "the old leader follows", func() string {
		s, err := c.admin.Status(ctx(t), client.At(old.api), client.Consistency(wire.Linearizable))
		switch {
		case err != nil:
			return err.Error()
		case string(s.Leader) == old.name:
			return "it leads"
		}
		return ""
	})
	checkAgreement(t, c)
}

// ask puts questions into the queue of a frozen node. Each answers "", or says which
// lie it was told.
func ask(t *testing.T, c *lab, n *node) chan string {
	t.Helper()
	k := c.patientClient(15*time.Second, n)
	t.Cleanup(k.Close)
	questions := []func() string{
		func() string {
			key, err := k.Key(ctx(t), "gone", client.At(n.api), client.Consistency(wire.Linearizable))
			if err == nil && key.Versions[0].State != lifecycle.Compromised {
				return fmt.Sprintf("a linearizable read tells %s of a version that was revoked", key.Versions[0].State)
			}
			return ""
		},
		func() string {
			_, err := k.Resume(ctx(t), "ci", wire.VersionVerb{Version: 1}, client.At(n.api))
			if wire.CodeOf(err) == wire.IllegalTransition {
				return "a resume was refused by a state that was superseded: " + err.Error()
			}
			return ""
		},
		func() string {
			s, err := k.Sign(ctx(t), "gone", wire.SignRequest{Message: []byte("x")}, client.At(n.api))
			if err == nil {
				return "a signature of a revoked key was released: " + s.KID
			}
			return ""
		},
	}
	out := make(chan string, len(questions))
	for _, q := range questions {
		go func() { out <- q() }()
	}
	return out
}

// TestFullDisk fills the disk of a follower, and then of the leader. The others go on;
// what has no space either stops or waits, and comes back when there is some.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	n3 := c.layOut()
	smallDisk(t, n3.data())
	c.enrol(n3)
	c.promote(n3)
	c.waitReady(n3, "?for=sign")
	c.createKey("ci", "")
	c.agree()

	if c.leader() == n3 {
		c.lead(c.nodes[0])
	}
	for _, role := range []string{"follower", "leader"} {
		if role == "leader" {
			c.lead(n3)
		}
		free := fill(t, n3)
		for i := range 20 {
			name := fmt.Sprintf("%s-%d", role, i)
			if _, err := c.admin.AddPrincipal(ctx(t), wire.AddPrincipal{Name: name, Kind: lifecycle.Service, Roles: []string{"signer:" + name}}); err != nil {
				t.Errorf("write %d while the %s's disk is full: %v", i, role, err)
			}
		}
		eventually(t, 20*time.Second, "a leader with space", func() string {
			if n := c.leader(); n == n3 {
				return "n3 leads"
			}
			return ""
		})
		if text := n3.text(); !strings.Contains(text, "no space left on device") && !strings.Contains(text, "the disk is full") {
			t.Errorf("n3 does not say that its disk is full\n%s", n3.tail(20))
		}
		free()
		if !n3.alive() {
			t.Logf("the %s ended: %s", role, n3.tail(1))
			n3.start(t)
		}
		c.waitReady(n3, "?for=sign")
		c.mustSign(n3, "ci")
		checkAgreement(t, c)
	}
}

// TestReserve fills the disks of all three nodes. None of them signs or changes anything
// any more, everybody is told why, and a revocation goes through on every one of them,
// from what they held in reserve; also when one of them was killed and has to start on
// its full disk. With room again they go on by themselves.
func TestReserve(t *testing.T) {
	t.Parallel()
	c := &lab{t: t, dir: t.TempDir()}
	t.Cleanup(c.end)
	first := c.layOut()
	smallDisk(t, first.data())
	c.found(first)
	for range 2 {
		n := c.layOut()
		smallDisk(t, n.data())
		c.enrol(n)
		c.promote(n)
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	c.createKey("ci", "")
	c.createKey("other", "")
	c.agree()

	var free []func()
	for _, n := range c.nodes {
		free = append(free, fill(t, n))
	}
	eventually(t, 30*time.Second, "every node says that its disk is full", func() string {
		s, err := c.admin.Status(ctx(t), client.Consistency(wire.Stale))
		if err != nil {
			return err.Error()
		}
		full := 0
		for _, p := range s.Problems {
			if p.Code == "disk_full" && p.Severity == wire.Critical {
				full++
			}
		}
		if full != 3 {
			return fmt.Sprintf("%d of 3: %+v", full, s.Problems)
		}
		return ""
	})
	impatient, cancel := context.WithTimeout(ctx(t), 10*time.Second)
	defer cancel()
	_, err := c.admin.AddPrincipal(impatient, wire.AddPrincipal{Name: "late", Kind: lifecycle.Service, Roles: []string{"signer:late"}})
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("a change on a full disk: %v", err)
	}
	down := c.leader()
	down.kill()
	down.start(t)
	c.waitReady(down, "")
	if _, err := c.admin.Revoke(ctx(t), "ci", wire.Revoke{Reason: lifecycle.KeyCompromise}); err != nil {
		t.Fatalf("revoke on full disks: %v", err)
	}
	c.agree()
	for _, n := range c.nodes {
		if !n.alive() {
			t.Errorf("%s ended: %s", n.name, n.tail(1))
		}
	}
	for _, f := range free {
		f()
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
		c.mustSign(n, "other")
	}
	if _, err := c.admin.AddPrincipal(ctx(t), wire.AddPrincipal{Name: "late", Kind: lifecycle.Service, Roles: []string{"signer:late"}}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	checkAgreement(t, c)
}

// lead hands leadership to a node and waits until it has it.
func (c *lab) lead(n *node) {
	c.t.Helper()
	eventually(c.t, 20*time.Second, n.name+" leads", func() string {
		if c.leader() == n {
			return ""
		}
		if _, err := c.admin.TransferLeader(ctx(c.t), wire.TransferLeader{Target: n.name}); err != nil {
			return err.Error()
		}
		return "not yet"
	})
}

// smallDisk mounts a file system of 64 MiB.
func smallDisk(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount(path, 64<<20); err != nil {
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
			t.Skipf("NOT TESTED: a full disk needs a small file system, which takes root on Linux: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(path); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
}

// fill writes until the node's disk is full, and returns what frees it again.
func fill(t *testing.T, n *node) (free func()) {
	t.Helper()
	path := n.data("ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := bytes.Repeat([]byte{'x'}, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}
