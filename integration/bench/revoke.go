//go:build linux && cgo

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	revokers = 16
	// openBaoRevocations a second were OpenBao's best, with 16 callers on three nodes of
	// this kind of machine: issue 5, "Numbers".
	openBaoRevocations = 117
	revokedAtOnce      = 1000 // when there shall be many
	revocationsMost    = 5000 // a second: nobody has seen as many
	lone               = 20   // revocations under strace
	watched            = 100  // revocations whose way to every node is followed
	revokeRounds       = 5    // as many certificates are used up
	visibleLimit       = 20 * time.Second
)

// revoke measures revocations one by one: with none revoked before and with many, their
// syncs, and when each node says so.
func (b *bench) revoke() error {
	w, err := b.startTown()
	if err != nil {
		return err
	}
	lead, err := w.leader(b.ctx)
	if err != nil {
		return err
	}
	raw, err := newRawIssuer()
	if err != nil {
		return err
	}
	yardstick, err := raw.cost(b.each) // how fast this machine is today
	if err != nil {
		return err
	}
	none, err := b.revokeRate(w, lead)
	if err != nil {
		return err
	}
	syncs, entries, err := b.raftSyncs(w.cluster, func() error { return w.revokeAlone(b) })
	if err != nil {
		return err
	}
	visible, err := b.visible(w)
	if err != nil {
		return err
	}
	if err := w.revokeMany(b, lead, b.revoked); err != nil {
		return err
	}
	many, err := b.revokeRate(w, lead)
	if err != nil {
		return err
	}
	visibleMany, err := b.visible(w)
	if err != nil {
		return err
	}
	b.table.atLeast(fmt.Sprintf("revoke, %d callers, against OpenBao's %d/s", revokers, openBaoRevocations), none.rate/openBaoRevocations, 15, "x",
		fmt.Sprintf("%s; x509.CreateCertificate alone %.0f us", none, yardstick))
	b.table.atLeast(fmt.Sprintf("revoke, with %d revoked before / with none", b.revoked), many.rate/none.rate, 0.9, "x", many.String())
	b.table.atMost("revoke: raft-store syncs of a lone revocation and node", syncs, 2, "", fmt.Sprintf("%d revocations, %d entries with those of CRL numbers; per entry, under strace", lone, entries))
	for _, v := range []struct {
		took  []float64
		after int
	}{{visible, 0}, {visibleMany, b.revoked}} {
		b.table.atMost(fmt.Sprintf("revoked in OCSP and status on each node: p99 of %d", watched), percentile(v.took, 99), 100, "ms",
			fmt.Sprintf("from the request on; median %.1f ms; %d revoked before", percentile(v.took, 50), v.after))
	}
	return nil
}

// revocation renders a request.
func (w *town) revocation(api *target, serials ...string) []byte {
	list := `"` + serials[0] + `"`
	for _, s := range serials[1:] {
		list += `,"` + s + `"`
	}
	return api.request("POST", wire.PathRevokeCertificates, fmt.Sprintf(`{"issuer":%q,"serials":[%s],"reason":"superseded"}`, townIssuer, list))
}

// revoking is what callers who revoke one certificate at a time came to.
type revoking struct {
	rate   float64 // a second
	us     float64 // of CPU of all nodes, for one
	shared float64 // of them that one entry carried
}

func (r revoking) String() string {
	return fmt.Sprintf("%.0f/s; %.0f us of CPU of three nodes; %.1f to an entry", r.rate, r.us, r.shared)
}

// revokeRate has callers revoke at the leader, each with a request of its own.
func (b *bench) revokeRate(w *town, lead int) (r revoking, err error) {
	var costs, shares []float64
	s := &side{name: "revoke", target: w.api(lead), callers: revokers, node: lead, of: w.cluster}
	rounds := *b
	rounds.rounds = min(b.rounds, revokeRounds)
	stock, err := w.certified(lead, int(float64(rounds.rounds+1)*b.each.Seconds()*revocationsMost))
	if err != nil {
		return r, err
	}
	var taken atomic.Int64
	s.request = func(int, int) []byte { return w.revocation(s.target, stock[min(int(taken.Add(1)), len(stock))-1]) }
	err = rounds.alternate([]*side{s}, func(l *load, d time.Duration, _ int) (float64, error) {
		first, err := w.index(b)
		if err != nil {
			return 0, err
		}
		before, err := w.cpu()
		if err != nil {
			return 0, err
		}
		n, took, err := l.run(d)
		if err != nil {
			return 0, err
		}
		after, err := w.cpu()
		if err != nil {
			return 0, err
		}
		last, err := w.index(b)
		shares = append(shares, float64(n)/float64(max(last-first, 1)))
		costs = append(costs, float64((after-before).Microseconds())/float64(max(n, 1)))
		return float64(n) / took.Seconds(), err
	}, nil)
	if err != nil {
		return r, err
	}
	return revoking{rate: median(s.results), us: median(costs), shared: median(shares)}, nil
}

// revokeAlone revokes certificates at such distances that they share nothing.
func (w *town) revokeAlone(b *bench) error {
	if err := w.stock(b, lone); err != nil {
		return err
	}
	for range lone {
		if err := w.revokeOne(b.ctx, w.take()); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (w *town) revokeOne(ctx context.Context, serials ...string) error {
	_, err := w.client.RevokeCertificates(ctx, wire.RevokeCertificates{Issuer: townIssuer, Serials: serials, Reason: lifecycle.Superseded})
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// revokeMany revokes n certificates in large steps, and lets the nodes publish them.
func (w *town) revokeMany(b *bench, lead, n int) error {
	for n > 0 {
		serials, err := w.certified(lead, min(n, revokedAtOnce))
		if err != nil {
			return err
		}
		if err := w.revokeOne(b.ctx, serials...); err != nil {
			return err
		}
		n -= len(serials)
		b.say("%d to be revoked", n)
	}
	return nil
}

// visible revokes one certificate after the other and asks every node all the while, for
// an OCSP answer and for the status: the milliseconds until the last one said so.
func (b *bench) visible(w *town) ([]float64, error) {
	if err := w.stock(b, watched); err != nil {
		return nil, err
	}
	var watchers []*watcher
	for node := 1; node <= nodes; node++ {
		for _, ocsp := range []bool{true, false} {
			c, err := w.public(node).dial()
			if err != nil {
				return nil, err
			}
			defer c.conn.Close() // nothing is in flight
			watchers = append(watchers, &watcher{caller: c, town: w, node: node, ocsp: ocsp})
		}
	}
	var took []float64
	for range watched {
		ms, err := b.watch(w, watchers, w.take())
		if err != nil {
			return nil, err
		}
		took = append(took, ms)
		time.Sleep(20 * time.Millisecond)
	}
	return took, nil
}

// watcher asks one node in one way.
type watcher struct {
	*caller
	town *town
	node int
	ocsp bool
}

func (b *bench) watch(w *town, watchers []*watcher, serial string) (float64, error) {
	q, err := w.question(b, serial)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	seen := make([]time.Duration, len(watchers))
	failed := make([]error, len(watchers)+1)
	var wg sync.WaitGroup
	for i, each := range watchers {
		wg.Go(func() { seen[i], failed[i] = each.until(q, serial, start) })
	}
	wg.Go(func() { failed[len(watchers)] = w.revokeOne(b.ctx, serial) })
	wg.Wait()
	last := time.Duration(0)
	for i, err := range failed {
		if err != nil {
			return 0, err
		}
		if i < len(seen) {
			last = max(last, seen[i])
		}
	}
	return float64(last.Microseconds()) / 1000, nil
}

// until asks until the certificate is revoked.
func (o *watcher) until(q *question, serial string, start time.Time) (time.Duration, error) {
	t := o.town.public(o.node)
	request := t.request("GET", strings.Replace(wire.PathCertStatus, "{serial}", serial, 1), "")
	revoked := func() bool { return bytes.Contains(o.body, []byte(`"status":"revoked"`)) }
	if o.ocsp {
		request, revoked = q.post(t, nil), func() bool { return q.revoked(o.body) }
	}
	for {
		if err := o.do(request); err != nil {
			return 0, fmt.Errorf("ask n%d for a certificate: %w", o.node, err)
		}
		switch since := time.Since(start); {
		case revoked():
			return since, nil
		case since > visibleLimit:
			return 0, fmt.Errorf("n%d does not say revoked after %v", o.node, since)
		}
		time.Sleep(time.Millisecond) // six of these on two cores would keep the servers from working
	}
}
