package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// Record commits the signatures of a node's requests to the log and returns what
// Apply made of each, wherever the leader is.
type Record func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error)

// What one entry carries at most: it has to fit a message between nodes.
const (
	entryGroups = 128
	entryItems  = MaxItems
)

// flights is how many entries of one node are on their way at once. While the oldest
// is being stored the next gathers; one alone would leave the disk idle while an
// answer travels.
const flights = 2

// notary writes strict signatures into the log before they are released. Requests
// that are ready at the same time share an entry; each is accepted or refused whole
// and by itself.
//
// What is recorded and then not released (the gate refuses, the process dies, the
// answer is lost) stands in the log all the same: the record says that a signature
// may exist, never that it was delivered.
type notary struct {
	record Record

	mu      sync.Mutex // owns what follows
	waiting []*deed
	flying  int
}

// deed is one request's group on its way.
type deed struct {
	ctx   context.Context
	group command.SignatureGroup
	done  chan struct{} // closed when index and err are set
	index uint64
	err   error
}

// put records a group and returns the index of its entry. Whatever the error,
// nothing may be released.
func (n *notary) put(ctx context.Context, g command.SignatureGroup) (uint64, error) {
	d := &deed{ctx: ctx, group: g, done: make(chan struct{})}
	n.mu.Lock()
	n.waiting = append(n.waiting, d)
	fly := n.flying < flights
	if fly {
		n.flying++
	}
	n.mu.Unlock()
	if fly {
		go n.fly()
	}
	select {
	case <-d.done:
		return d.index, d.err
	case <-ctx.Done():
		return 0, notRecorded("it was not in the log in time: %v", context.Cause(ctx))
	}
}

// fly takes what waits into entries until nothing does.
func (n *notary) fly() {
	for {
		// One answer of the audit journal sets many requests free at once: let the
		// others get here, so that the first entry does not carry one alone.
		runtime.Gosched()
		batch := n.take()
		if batch == nil {
			return
		}
		n.carry(batch)
	}
}

// take removes from the queue what fits one entry and is still waited for; nil ends
// the flight.
func (n *notary) take() []*deed {
	n.mu.Lock()
	defer n.mu.Unlock()
	var batch []*deed
	items, taken := 0, 0
	for _, d := range n.waiting {
		if items += len(d.group.Items); len(batch) > 0 && (items > entryItems || len(batch) == entryGroups) {
			break
		}
		taken++
		if d.ctx.Err() == nil {
			batch = append(batch, d)
		}
	}
	clear(n.waiting[:taken])
	if n.waiting = n.waiting[taken:]; len(n.waiting) == 0 {
		n.waiting = nil
	}
	if batch == nil {
		n.flying--
	}
	return batch
}

// carry brings one entry to the log and tells everybody what became of theirs.
func (n *notary) carry(batch []*deed) {
	groups := make([]command.SignatureGroup, len(batch))
	var until time.Time // the last of them gives up
	for i, d := range batch {
		groups[i] = d.group
		if t, ok := d.ctx.Deadline(); ok && t.After(until) {
			until = t
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	o, err := n.record(ctx, groups)
	cancel()
	switch {
	case err != nil:
		err = unrecorded(err)
	case !o.OK():
		err = notRecorded("%v", o.Err())
	case len(o.Groups) != len(batch):
		err = notRecorded("the leader answered for %d of %d requests", len(o.Groups), len(batch))
	}
	for i, d := range batch {
		d.index, d.err = o.Index, err
		if err == nil && o.Groups[i].Code != "" {
			d.err = refuse(string(o.Groups[i].Code), "chancery key show "+string(d.group.Key), "the log refuses the signature: %s: nothing was released", o.Groups[i].Detail)
		}
		close(d.done)
	}
}

// unrecorded says why a record may be missing. It hides the ledger's sentinels on
// purpose: to sign is not a change that is forwarded or repeated under the same
// request id, and whatever became of the record, nothing was released.
func unrecorded(err error) error {
	switch {
	case errors.Is(err, ledger.ErrNotLeader):
		return notRecorded("no leader is known to this node")
	case errors.Is(err, ledger.ErrIndeterminate):
		return notRecorded("the leader was lost before it answered")
	}
	return notRecorded("%v", err)
}

func notRecorded(format string, args ...any) error {
	return refuse("not_recorded", "try again in a moment, or another node", "a strict signature is released only once it stands in the log: %s: nothing was released", fmt.Sprintf(format, args...))
}

// group is what the log gets of a request: the signatures that were made, none of
// those that failed.
func (j *job) group(items []Item, tbs [][]byte) command.SignatureGroup {
	g := command.SignatureGroup{Key: j.key.ID, Version: j.version.Number, KID: j.instance.KID, Principal: j.Caller.Principal,
		TokenID: j.Caller.TokenID, RequestID: j.ID, Items: make([]command.SignatureItem, 0, len(items))}
	for i := range items {
		if items[i].Err == nil {
			of, sig := sha256Of(j.key.Alg, tbs[i]), sha256.Sum256(items[i].Bytes)
			g.Items = append(g.Items, command.SignatureItem{TBS: of, Sig: sig[:]})
		}
	}
	return g
}
