package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/gather"
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

// Notary writes strict signatures into the log before they are released. Requests
// that are ready at the same time share an entry; each is accepted or refused whole
// and by itself.
//
// What is recorded and then not released (the gate refuses, the process dies, the
// answer is lost) stands in the log all the same: the record says that a signature
// may exist, never that it was delivered.
type Notary struct {
	record Record
	groups gather.Gatherer[command.SignatureGroup, deed]
}

// deed is what became of one request's group.
type deed struct {
	index uint64
	err   error
}

// NewNotary makes one that writes with record.
func NewNotary(record Record) *Notary {
	n := &Notary{record: record}
	n.groups = gather.Gatherer[command.SignatureGroup, deed]{Carry: n.carry, Flights: flights, Items: entryGroups,
		Weight: entryItems, Weigh: func(g command.SignatureGroup) int { return len(g.Items) }}
	return n
}

// Put records a group and returns the index of its entry. Whatever the error,
// nothing may be released.
func (n *Notary) Put(ctx context.Context, g command.SignatureGroup) (uint64, error) {
	d, err := n.groups.Put(ctx, g)
	if err != nil {
		return 0, notRecorded("it was not in the log in time: %v", err)
	}
	return d.index, d.err
}

// carry brings one entry to the log and says what became of each group.
func (n *Notary) carry(ctx context.Context, groups []command.SignatureGroup) ([]deed, error) {
	o, err := n.record(ctx, groups)
	switch {
	case err != nil:
		err = unrecorded(err)
	case !o.OK():
		err = notRecorded("%v", o.Err())
	case len(o.Groups) != len(groups):
		err = notRecorded("the leader answered for %d of %d requests", len(o.Groups), len(groups))
	}
	deeds := make([]deed, len(groups))
	for i := range deeds {
		deeds[i] = deed{o.Index, err}
		if err == nil && o.Groups[i].Code != "" {
			deeds[i].err = refuse(string(o.Groups[i].Code), "chancery key show "+string(groups[i].Key), "the log refuses the signature: %s: nothing was released", o.Groups[i].Detail)
		}
	}
	return deeds, nil
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
