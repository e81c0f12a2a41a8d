package cluster

import (
	"errors"
	"testing"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// TestReadIndexNeedsTheReadyTerm: a node that regained leadership and is still
// called Ready for its former term may lack what others acknowledged in between.
func TestReadIndexNeedsTheReadyTerm(t *testing.T) {
	l := newCluster(t, 1)
	n := l.leader().node.Load()
	term := n.Leadership().Term
	if _, err := n.confirmedIndex(t.Context(), term); err != nil {
		t.Fatal(err)
	}
	for _, other := range []uint64{term - 1, term + 1} {
		if _, err := n.confirmedIndex(t.Context(), other); !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("ready in %d, leading %d: %v", other, term, err)
		}
	}
}

// TestConfirmationIsOfTheIncarnation: a node that was rebuilt has forgotten the
// terms it knew as a voter.
func TestConfirmationIsOfTheIncarnation(t *testing.T) {
	l := newCluster(t, 2)
	leader := l.leader()
	n, other := leader.node.Load(), l.others(leader)[0].node.Load()
	term := n.Leadership().Term
	if !n.confirmWith(t.Context(), other.serverID, term) {
		t.Error("a voter does not confirm")
	}
	if n.confirmWith(t.Context(), serverID(other.ID, "0011223344556677"), term) {
		t.Error("a new incarnation confirmed for the voter that it was")
	}
	if n.confirmWith(t.Context(), other.serverID, term-1) {
		t.Error("a voter that knows a later term confirmed")
	}
}

func TestPeerQuestionsAreChecked(t *testing.T) {
	l := newCluster(t, 2)
	leader := l.leader()
	follower := l.others(leader)[0]
	l.awaitFresh(follower)
	n, f := leader.node.Load(), follower.node.Load()
	good := ReadIndexReq{Cluster: n.View().Cluster().ID, Epoch: 1, Nonce: "n", Report: f.report()}
	if resp, err := n.HandleReadIndex(t.Context(), f.ID, good); err != nil || resp.Nonce != "n" || resp.Leader != n.ID || resp.Index == 0 || len(resp.Reports) != 2 {
		t.Fatalf("%+v, %v", resp, err)
	}
	for name, c := range map[string]struct {
		change func(*ReadIndexReq)
		want   error
	}{
		"another cluster": {func(r *ReadIndexReq) { r.Cluster = "x" }, ledger.ErrEpoch},
		"another epoch":   {func(r *ReadIndexReq) { r.Epoch = 2 }, ledger.ErrEpoch},
		"another's word":  {func(r *ReadIndexReq) { r.Report.Node = n.ID }, errSender},
	} {
		req := good
		c.change(&req)
		if _, err := n.HandleReadIndex(t.Context(), f.ID, req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.HandleReadIndex(t.Context(), n.ID, good); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("a follower answers: %v", err)
	}
	if _, err := f.HandleConfirm(t.Context(), f.ID, ConfirmReq{Leader: n.ID}); !errors.Is(err, errSender) {
		t.Errorf("a confirmation asked for in another's name: %v", err)
	}
}

// TestHungVoterCostsLittle: questions without an answer are bounded.
func TestHungVoterCostsLittle(t *testing.T) {
	r := newRegistry(nil)
	for range maxOpen {
		if !r.ask("a") {
			t.Fatal("refused too early")
		}
	}
	if r.ask("a") || !r.ask("b") {
		t.Error("the bound is per node")
	}
	r.asked("a")
	if !r.ask("a") {
		t.Error("an answer makes room")
	}
}
