package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// inFlight is how many AppendEntries may be on their way to one follower. Raft sends
// an empty one at least every two CommitTimeouts, and there are notices; with eight of
// them a round trip of 100 ms leaves room for the next entry at any time. More would let
// a follower with a slow disk queue up what it could store in one batch.
const inFlight = 8

// pipeline is raft's own, with its end seen to.
//
// Raft's decoder goes away when a follower refuses, and raft's sender then waits for
// ever to hand over the next request, because nobody takes answers any more
// (hashicorp/raft #612): the follower hears heartbeats and never another entry, and
// the leader never shuts down. Here every answer passes a relay, which closes the
// connection behind the one that ends a pipeline; whoever waits in AppendEntries is then
// told so, and raft goes on without a pipeline until the two agree again.
//
// An answer that is none, because the connection broke, is not passed on: raft would
// take it for a sign of life and lengthen its leader's lease by it. Nor are the answers to
// notices, which raft did not send.
type pipeline struct {
	raft.AppendPipeline
	transport *Transport
	answers   chan raft.AppendFuture
	closed    chan struct{}
	once      sync.Once

	sending sync.Mutex    // raft's sender and notices take turns
	noticed sync.Map      // *raft.AppendEntriesRequest: notices on their way
	room    chan struct{} // tokens: bounds the notices that wait for their turn
}

// AppendEntriesPipeline connects to a follower.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, transport: t, room: make(chan struct{}, inFlight), answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = inner.Close() // nothing was exchanged on it
		return nil, raft.ErrTransportShutdown
	}
	t.pipelines[p] = struct{}{}
	t.work.Go(p.relay)
	return p, nil
}

func (p *pipeline) relay() {
	defer func() {
		_ = p.Close() // whoever sends on it learns of it
		p.transport.mu.Lock()
		defer p.transport.mu.Unlock()
		delete(p.transport.pipelines, p)
	}()
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			if f.Error() != nil {
				return
			}
			if _, ours := p.noticed.LoadAndDelete(f.Request()); ours {
				continue
			}
			select {
			case p.answers <- f:
			case <-p.closed:
				return
			}
			if r := f.Response(); !r.Success || r.Term > f.Request().Term {
				return
			}
		case <-p.closed:
			return
		}
	}
}

// AppendEntries sends a request of raft's.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.AppendPipeline.AppendEntries(args, resp)
}

// notify sends a request of ours, whose answer nobody sees.
func (p *pipeline) notify(args *raft.AppendEntriesRequest) {
	defer func() { <-p.room }()
	p.noticed.Store(args, true)
	if _, err := p.AppendEntries(args, new(raft.AppendEntriesResponse)); err != nil {
		p.noticed.Delete(args)
		_ = p.Close() // raft's sender finds the same
	}
}

// Committed tells the followers now that the entry is committed, in the name of the leader
// of the term. Raft tells them with the next entry that it sends, or else after one to
// two CommitTimeouts.
//
// What is sent is an AppendEntries without entries, as raft itself would send it next:
// which entry stands at the index, and that all up to it is committed. Both are facts for
// ever, so that it does no harm when it comes late or not at all: a follower with another
// entry there, or none, or in a later term refuses. It travels behind the entries
// themselves. Followers without a pipeline are told by raft alone.
func (t *Transport) Committed(term uint64, entry *raft.Log) {
	self := t.EncodePeer(t.config.Local, t.config.Address)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for p := range t.pipelines {
		select {
		case p.room <- struct{}{}:
		default:
			continue // it is behind by so many already
		}
		notice := &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.config.Local), Addr: self},
			Term:      term, Leader: self,
			PrevLogEntry: entry.Index, PrevLogTerm: entry.Term, LeaderCommitIndex: entry.Index,
		}
		t.work.Go(func() { p.notify(notice) })
	}
}

// Consumer delivers the answers, in the order of the requests.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close ends the connection and whoever waits on it.
func (p *pipeline) Close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		err = p.AppendPipeline.Close()
	})
	return err
}
