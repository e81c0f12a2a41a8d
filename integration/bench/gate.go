//go:build linux && cgo

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/cluster/fresh"
	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const gateBound = 2 // us

// gate measures what the release gate and the lease check in it add to a signature:
// on the state that the request was admitted with, on a newer one, and on one in
// which the key's own row was written. Lease, clocks and gate are the server's; they
// are called in this process, or the rest of a request would hide them.
func (b *bench) gate() error {
	var costs [3][]float64
	for range b.rounds {
		var err error
		done := false
		testing.Benchmark(func(tb *testing.B) { // it lends the ledger a testing.TB
			if !done {
				done, err = true, gateCosts(tb, b.each, &costs)
			}
		})
		if err != nil {
			return fmt.Errorf("pass the gate: %w", err)
		}
	}
	same, newer, written := median(costs[0]), median(costs[1]), median(costs[2])
	b.table.atMost("gate and lease check per signature, same state", same, gateBound, "us", "CPU; nothing was applied since the request was admitted")
	b.table.atMost("gate and lease check per signature, newer state", newer, gateBound, "us",
		fmt.Sprintf("%.2f us for the few whose own key was written to meanwhile: everything is looked for again", written))
	return nil
}

const gateKey = "gate"

// gateCosts adds one round to each of the three costs.
func gateCosts(tb *testing.B, d time.Duration, costs *[3][]float64) error {
	g, err := newGated(tb)
	if err != nil {
		return err
	}
	for i, change := range []command.Body{
		nil,
		&command.AddPrincipal{Principal: command.PrincipalRecord{Name: "another", Kind: lifecycle.Service}},
		&command.SetPolicy{Key: gateKey, Policy: g.ledger.View().Key(gateKey).Policy, Owner: "another"},
	} {
		us, err := g.cost(tb, d, change)
		if err != nil {
			return err
		}
		costs[i] = append(costs[i], us)
	}
	return nil
}

// gated is a signer with a lease.
type gated struct {
	ledger *ledgertest.Ledger
	signer *signing.Signer
	holder *lease.Holder
}

// Usable implements ledger.Lease as a cluster's node does.
func (g *gated) Usable(v *state.View) error { return g.holder.Usable(v.Position().Index) }

func elapsed() time.Duration { return time.Duration(fresh.BootClock{}.Now()) }

func newGated(tb *testing.B) (*gated, error) {
	l := ledgertest.New(tb)
	node := ledgertest.Genesis(tb, l, "n1", "node2")[0]
	id := ledgertest.CKAID(gateKey)
	for _, c := range []command.Body{
		&command.AddPrincipal{Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "g*"}}}},
		&command.AddToken{ID: "token-robot", Principal: "robot", Hash: make([]byte, 32), ExpiresAt: l.Clock().At().Add(lifecycle.Day)},
		&command.CreateKey{Name: gateKey, Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "o", Reason: "r",
			Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256), Instances: []command.Intent{{Node: node, CKAID: id}}},
		&command.BindInstance{Key: gateKey, Version: 1, Node: node, CKAID: id, SPKI: []byte("measured"), KID: "VGhlIGdhdGUgbG9va3MgYXQgbm8gcHVibGljIGtleSE", Driver: "none"},
		&command.ActivateVersion{Key: gateKey, Version: 1, Early: true, Comment: "measure"},
	} {
		l.Must(tb, c)
	}
	g := &gated{ledger: l, holder: lease.NewHolder(node, lease.System, lease.TermsOf(lease.MaxDuration, time.Second))}
	g.signer = signing.New(signing.Config{Ledger: l, Lease: g, Clock: time.Now, Elapsed: elapsed, MaxAge: time.Minute})
	return g, g.grant(node)
}

// grant gives the node a lease that outlives the measurement, from itself.
func (g *gated) grant(node lifecycle.NodeID) error {
	v := g.ledger.View()
	at, c := v.Position(), v.Cluster()
	office := lease.NewGrantor(lease.Office{Cluster: c.ID, Epoch: c.Epoch, Term: 1, Leader: node, ElectedAt: lease.System(), Clock: lease.System,
		Wall: func() lifecycle.Instant { return lifecycle.Instant(time.Now().UnixMilli()) }})
	asked := g.holder.Ask(lease.Observed{Cluster: c.ID, Epoch: c.Epoch, Term: 1, Applied: at.Index, LogSize: at.LogSize, Root: at.LogRoot[:], HSMOK: true})
	recorded, err := office.Record(node, asked, func() (uint64, lease.Terms) { return at.Index, lease.TermsOf(lease.MaxDuration, time.Second) })
	if err != nil {
		return err
	}
	grant, err := office.Grant(recorded, 1)
	if err != nil {
		return err
	}
	return g.holder.Accept(node, grant, at.Index)
}

// cost is the CPU of one passage in microseconds. change is applied after the request
// was admitted.
func (g *gated) cost(tb *testing.B, d time.Duration, change command.Body) (float64, error) {
	const atOnce = 1000
	pass, err := g.signer.Rehearse(signing.Request{Caller: authority.Caller{Principal: "robot", TokenID: "token-robot"}, ID: "bench", Key: gateKey, ReceivedAt: elapsed()})
	if err != nil {
		return 0, err
	}
	if change != nil {
		g.ledger.Must(tb, change)
	}
	n, before := 0, selfCPU()
	for start := time.Now(); time.Since(start) < d; n += atOnce {
		for range atOnce {
			if err := pass(); err != nil {
				return 0, err
			}
		}
	}
	return float64((selfCPU() - before).Nanoseconds()) / 1000 / float64(n), nil
}
