// Command demo shows what a revocation does while a node is cut off from the others:
// three real servers in network namespaces, a partition, a revocation, and what every
// node does meanwhile. scripts/demo-partition builds and starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/integration/netlab"
	"github.com/chancery-project/chancery/transport/wire"
)

const key = "ci-artifacts"

func main() {
	program := flag.String("chancery", "bin/chancery", "the program to show, `PATH`")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *program); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context, program string) (err error) {
	if err := netlab.Check(); err != nil {
		return fmt.Errorf("%w. This demonstration makes three machines out of network namespaces: run it as root, on Linux", err)
	}
	c, err := open(program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()

	say("Three nodes, each on a machine of its own (a network namespace):")
	if err := c.found(ctx); err != nil {
		return err
	}
	for _, n := range c.nodes {
		say("  %s at %s", n.name, n.host.Addr)
	}
	if err := c.createKey(ctx); err != nil {
		return err
	}
	say("\nKey %s exists. Every node made a key pair of its own, and every node signs:", key)
	watch := c.watch(ctx)
	defer watch.end()
	if err := watch.allSign(ctx); err != nil {
		return err
	}

	lost := c.nodes[2]
	say("\n--- %s is cut off from the other nodes. Callers still reach it.", lost.name)
	c.net.Apart([]*netlab.Host{lost.host}, []*netlab.Host{c.nodes[0].host, c.nodes[1].host})
	say("--- The key is revoked: keyCompromise.\n")
	if err := c.revoke(ctx, watch, lost); err != nil {
		return err
	}
	say("\nWhat %s says now, to callers who can reach only it:", lost.name)
	if err := c.askUntilStale(ctx, lost); err != nil {
		return err
	}

	say("\n--- The network is whole again.")
	c.net.Heal()
	return c.askUntilRevoked(ctx, lost)
}

// revoke revokes through the nodes that are left and tells what became of it.
func (c *cluster) revoke(ctx context.Context, w *watch, lost *node) error {
	k := c.client(c.nodes[0], c.nodes[1])
	defer k.Close()
	began := time.Now()
	op, err := k.Revoke(ctx, key, wire.Revoke{Reason: lifecycle.KeyCompromise, Comment: "demonstration"}, client.Wait(wire.Fenced, 30*time.Second))
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if !op.Has(wire.Fenced) {
		return fmt.Errorf("revoke: it is %q after %s, not fenced", op.Reached, time.Since(began).Round(time.Millisecond))
	}
	say("  committed after %5d ms: no majority can forget it", op.Committed.MS)
	say("  fenced    after %5d ms: no node releases a signature of this key again", op.Fenced.MS)
	for _, n := range op.Nodes {
		why := map[string]string{
			string(lifecycle.Acked):        "it said so itself",
			string(lifecycle.LeaseExpired): "it was not heard, and the lease that it held has run out",
		}[n.Outcome]
		say("    %s  %-13s after %5d ms: %s", n.Node, n.Outcome, n.MS, why)
	}
	say("\nWhen each node stopped, as a caller saw it who asked every 20 ms:")
	for _, n := range c.nodes {
		last, refusal := w.last(n)
		say("  %s  last signature %+6d ms from the moment the revocation was asked for", n.name, last.Sub(began).Milliseconds())
		say("      and since then: %s", refusal)
	}
	if last, _ := w.last(lost); last.After(began.Add(time.Duration(op.Fenced.MS) * time.Millisecond)) {
		return errors.New("the node that was cut off signed after the revocation was fenced: this is a bug")
	}
	return nil
}

// askUntilStale asks the node that was cut off until it says no more that the key is
// good.
func (c *cluster) askUntilStale(ctx context.Context, n *node) error {
	return c.follow(ctx, n, 20*time.Second, func(s *wire.KeyStatus) bool { return s.Status != wire.Good },
		"it never says good from a state older than 5 s")
}

func (c *cluster) askUntilRevoked(ctx context.Context, n *node) error {
	say("  %s hears of the revocation:", n.name)
	return c.follow(ctx, n, 30*time.Second, func(s *wire.KeyStatus) bool { return s.Status == wire.Revoked }, "that is final")
}

// follow prints each new answer until one is the last.
func (c *cluster) follow(ctx context.Context, n *node, within time.Duration, last func(*wire.KeyStatus) bool, moral string) error {
	said := ""
	for deadline := time.Now().Add(within); ; {
		s, err := c.status(ctx, n)
		switch {
		case err == nil && s.Status != said:
			said = s.Status
			say("  status  %-14s (by a state of %.1f s ago)", s.Status, time.Since(s.AsOf.Time()).Seconds())
		case err != nil && err.Error() != said:
			said = err.Error()
			say("  status  %v", err)
		}
		if err == nil && last(s) {
			say("          %s", moral)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still says %q after %s", n.name, said, within)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func say(format string, args ...any) {
	fmt.Println(strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
