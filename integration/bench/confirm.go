//go:build linux && cgo

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	confirmers    = 5000
	confirmations = 16 // of each confirmer
	confirmBound  = 10_000
	entryBound    = 10
)

// intake is a desk over a ledger in memory, which applies as a node does and counts.
type intake struct {
	*ledgertest.Ledger
	desk    *consumer.Desk
	entries atomic.Uint64
}

func (i *intake) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	i.entries.Add(1)
	return i.Ledger.Propose(ctx, cmd)
}

// deaf takes audit records; the journal is not what is measured.
type deaf struct{}

func (deaf) AppendAsync(audit.Record) error { return nil }

const (
	confirmedKey lifecycle.KeyID = "tokens"
	confirmer    string          = "edge"
)

// confirmations measures what the leader's desk takes in when many instances of a
// consumer confirm at once and each time say something new, down to the rows: without
// the network, which has a node's two cores busy before this does.
func (b *bench) confirmations() (err error) {
	testing.Benchmark(func(tb *testing.B) { // it lends ledgertest its TB, and measures nothing itself
		if err == nil {
			err = b.confirm(tb)
		}
	})
	return err
}

func (b *bench) confirm(tb testing.TB) error {
	in := &intake{Ledger: ledgertest.New(tb)}
	kids, err := in.populate(tb)
	if err != nil {
		return err
	}
	in.desk = consumer.New(consumer.Config{Ledger: in, Audit: deaf{}, Clock: in.Clock().Now})
	whole, err := publish.Set(in.View(), confirmedKey)
	if err != nil {
		return err
	}
	part, err := publish.Subset(in.View(), confirmedKey, kids[:2])
	if err != nil {
		return err
	}
	says := []consumer.Statement{{Digest: whole.Digest}, {Digest: part.Digest, KIDs: kids[:2]}}
	worked, begun := processorTime(), time.Now()
	if err := in.flood(says); err != nil {
		return err
	}
	took, work := time.Since(begun).Seconds(), processorTime()-worked
	const n = confirmers * confirmations
	b.table.atLeast("confirmations taken in, all of them news", n/took, confirmBound, "1/s", fmt.Sprintf("%.0f us of a processor each", work.Seconds()*1e6/n))
	b.table.atMost("entries that 10000 of them need", float64(in.entries.Load())*confirmBound/float64(n), entryBound, "", fmt.Sprintf("%d confirmations in %d entries", n, in.entries.Load()))
	return nil
}

// flood has every instance confirm one set after the other.
func (i *intake) flood(says []consumer.Statement) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for c := range confirmers {
		wg.Go(func() {
			for turn := range confirmations {
				s := says[turn%len(says)]
				s.Caller, s.Consumer, s.Key, s.Instance = authority.Caller{Principal: confirmer}, confirmer, confirmedKey, fmt.Sprint("pod-", c)
				r, err := i.desk.Confirm(context.Background(), s)
				if err == nil && !r.Recorded {
					err = errors.New("a confirmation was no news")
				}
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// populate makes a key with three instances and a consumer of it.
func (i *intake) populate(tb testing.TB) (kids []string, err error) {
	nodes := ledgertest.Genesis(tb, i.Ledger, "alpha", "beta", "gamma")
	c := &command.CreateKey{Name: confirmedKey, Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform@example.com",
		Reason: "signs the tokens of a service", Policy: lifecycle.DefaultPolicy(lifecycle.ForToken, lifecycle.ES256)}
	for _, n := range nodes {
		c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: ledgertest.CKAID(string(n))})
	}
	i.Must(tb, c)
	for _, in := range c.Instances {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key pair: %w", err)
		}
		spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("encode a public key: %w", err)
		}
		kid, err := publish.Thumbprint(spki)
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
		i.Must(tb, &command.BindInstance{Key: c.Name, Version: 1, Node: in.Node, CKAID: in.CKAID, SPKI: spki, KID: kid, Driver: "soft"})
	}
	i.Must(tb, &command.ActivateVersion{Key: c.Name, Version: 1})
	i.Must(tb, &command.RegisterConsumer{Consumer: command.ConsumerRecord{Name: confirmer, Owner: "edge@example.com", Contact: "edge@example.com", Class: lifecycle.Required,
		Expect: lifecycle.MaxExpect, Keys: []lifecycle.KeyID{confirmedKey}, Lifetime: lifecycle.Day},
		Enrolment: command.Enrolment{Hash: secretOf(1), ExpiresAt: i.Clock().At().Add(lifecycle.Hour)}})
	return kids, nil
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
