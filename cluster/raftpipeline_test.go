package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// responder answers RPCs as respond says, until the test ends.
func (s *station) responder(t *testing.T, respond func(n int) *raft.AppendEntriesResponse) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for n := 1; ; n++ {
			select {
			case rpc := <-s.transport.Consumer():
				rpc.Respond(respond(n), nil)
			case <-stop:
				return
			}
		}
	}()
}

// TestPipelineEndsWithARefusal: raft reads no answer after one that ends a pipeline, and
// its sender must not wait for that (hashicorp/raft #612).
func TestPipelineEndsWithARefusal(t *testing.T) {
	for name, last := range map[string]*raft.AppendEntriesResponse{
		"refused":    {Term: 1, Success: false},
		"later term": {Term: 2, Success: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory()
			a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
			b.responder(t, func(n int) *raft.AppendEntriesResponse {
				if n == 3 {
					return last
				}
				return &raft.AppendEntriesResponse{Term: 1, Success: true}
			})
			p, err := a.transport.AppendEntriesPipeline(b.id, "")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1}, new(raft.AppendEntriesResponse)); err != nil {
						ended <- err
						return
					}
				}
			}()
			for n := 1; n <= 3; n++ {
				f := answered(t, p)
				if got := f.Response(); n < 3 && (!got.Success || got.Term != 1) || n == 3 && (got.Success != last.Success || got.Term != last.Term) {
					t.Errorf("answer %d: %+v", n, got)
				}
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("the sender waits for somebody to take answers")
			}
			if err := p.Close(); err != nil {
				t.Errorf("close it once more: %v", err)
			}
		})
	}
}

func answered(t *testing.T, p raft.AppendPipeline) raft.AppendFuture {
	t.Helper()
	select {
	case f := <-p.Consumer():
		return f
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
		return nil
	}
}

// TestBrokenPipelineIsNoSignOfLife: raft counts whatever comes out of a pipeline as
// contact with the follower, so nothing may come out when the connection breaks.
func TestBrokenPipelineIsNoSignOfLife(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	reached, broken := make(chan struct{}), make(chan struct{})
	b.responder(t, func(int) *raft.AppendEntriesResponse {
		close(reached)
		<-broken
		return &raft.AppendEntriesResponse{Term: 1, Success: true}
	})
	p, err := a.transport.AppendEntriesPipeline(b.id, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1}, new(raft.AppendEntriesResponse)); err != nil {
		t.Fatal(err)
	}
	<-reached
	b.transport.CloseStreams()
	close(broken)
	until(t, "the pipeline to be given up", func() bool {
		a.transport.mu.Lock()
		defer a.transport.mu.Unlock()
		return len(a.transport.pipelines) == 0
	})
	select {
	case f := <-p.Consumer():
		t.Errorf("an answer came out: %+v", f.Response())
	default:
	}
}

// TestClosedTransportHasNoPipelines, neither open ones nor new ones.
func TestClosedTransportHasNoPipelines(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	b.answer(t)
	p, err := a.transport.AppendEntriesPipeline(b.id, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.transport.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1}, new(raft.AppendEntriesResponse)); err == nil {
		t.Error("the connection is still open")
	}
	if _, err := a.transport.AppendEntriesPipeline(b.id, ""); err == nil {
		t.Error("a closed transport connects")
	}
}

// TestCommittedIsTold: the followers learn of a commit behind the entry, and raft, which
// did not ask, gets no answer to it, not even a refusal.
func TestCommittedIsTold(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	told := make(chan *raft.AppendEntriesRequest, 1)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case rpc := <-b.transport.Consumer():
				r := rpc.Command.(*raft.AppendEntriesRequest)
				if r.LeaderCommitIndex != 0 {
					told <- r
				}
				rpc.Respond(&raft.AppendEntriesResponse{Term: 1, Success: r.LeaderCommitIndex == 0}, nil)
			case <-stop:
				return
			}
		}
	}()
	a.transport.Committed(1, &raft.Log{Index: 7, Term: 1}) // there is nobody to tell
	p, err := a.transport.AppendEntriesPipeline(b.id, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * inFlight {
		a.transport.Committed(2, &raft.Log{Index: 7, Term: 1})
		select {
		case r := <-told:
			if r.Term != 2 || r.PrevLogEntry != 7 || r.PrevLogTerm != 1 || r.LeaderCommitIndex != 7 || len(r.Entries) != 0 || raft.ServerID(r.ID) != a.id {
				t.Errorf("told %+v", r)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told")
		}
	}
	sent := &raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1}
	if _, err := p.AppendEntries(sent, new(raft.AppendEntriesResponse)); err != nil {
		t.Fatal(err)
	}
	if f := answered(t, p); f.Request() != sent || !f.Response().Success {
		t.Errorf("raft was answered %+v", f.Response())
	}
}
