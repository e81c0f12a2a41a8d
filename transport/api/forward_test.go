package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// pretend makes this node follow another one, whose API is at addr.
func (n *node) pretend(name, addr string) {
	n.t.Helper()
	v := n.ledger.View()
	row := v.NodeByName(name)
	addrs := row.Addrs
	addrs.API = addr
	n.ledger.Must(n.t, &command.UpdateNode{ID: row.ID, Addrs: addrs, MaxFormat: row.MaxFormat, Version: row.Version, Driver: row.Driver})
	n.ledger.Follow(row.ID)
}

// twoNodes are a leader and a follower over two ledgers with the same rows.
func twoNodes(t *testing.T) (leader, follower *node) {
	t.Helper()
	leader = start(t)
	l := ledgertest.New(t, ledgertest.WithClock(leader.clock), ledgertest.WithState(leader.ledger.Rows()), ledgertest.WithNode(ledgertest.NodeID("node2")))
	follower = serve(t, l, func(c *Config) {
		c.Node, c.ForwardTransport = "node2", leader.server.Client().Transport
	})
	follower.pretend("n1", strings.TrimPrefix(leader.server.URL, "https://"))
	return leader, follower
}

func TestForward(t *testing.T) {
	leader, follower := twoNodes(t)
	id := newID()
	r := follower.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, id)
	op := get[wire.Operation](t, r)
	if op.RequestID != id || r.header.Get(wire.HeaderNode) != "n1" || leader.ledger.View().Key("ci") == nil {
		t.Errorf("forwarded: %s %v", r.body, r.header)
	}
	r = follower.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, id)
	if get[wire.Operation](t, r); r.header.Get(wire.HeaderReplayed) != "true" {
		t.Error("a repeat through another node was not recognised")
	}
	refused(t, follower.ask("signer", "POST", wire.PathKeys, createCI), wire.Denied)
	refused(t, follower.ask("", "POST", wire.PathKeys, createCI, "Authorization", "Bearer chy_made_up"), wire.Unauthenticated)
	refused(t, follower.ask("", "POST", wire.PathKeys, createCI), wire.Unauthenticated)
	get[wire.Challenge](t, follower.ask("", "POST", wire.PathChallenge, wire.ChallengeRequest{Principal: "admin"}))
	refused(t, follower.ask("admin", "POST", wire.PathKeys, createCI, headerForwarded, "n3"), wire.NotLeader)
	get[wire.WhoAmI](t, follower.ask("admin", "GET", wire.PathWhoAmI, nil)) // reads stay here

	// A request whose connection breaks may have arrived.
	leader.server.Close()
	e := refused(t, follower.ask("admin", "POST", wire.PathKeys, createCI), wire.OutcomeUnknown)
	if e.RequestID == "" || !e.Retryable {
		t.Errorf("a broken connection to the leader = %+v", e)
	}
}

func TestNoLeader(t *testing.T) {
	n := start(t)
	n.ledger.SetLeader(false)
	r := n.ask("admin", "POST", wire.PathKeys, createCI)
	if refused(t, r, wire.NotLeader); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("without a leader: %d %v", r.status, r.header)
	}
	refused(t, n.ask("", "POST", wire.PathChallenge, wire.ChallengeRequest{Principal: "admin"}), wire.NotLeader)
}

func TestReplay(t *testing.T) {
	n := start(t)
	id := newID()
	first := n.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, id)
	op := get[wire.Operation](t, first)
	if first.header.Get(wire.HeaderReplayed) != "" || first.header.Get(wire.HeaderRequestID) != id {
		t.Errorf("first = %v", first.header)
	}
	// Another spelling of the same JSON is the same request.
	spaced, err := json.MarshalIndent(createCI, "", "   ")
	if err != nil {
		t.Fatal(err)
	}
	again := n.ask("admin", "POST", wire.PathKeys, string(spaced), wire.HeaderRequestID, id)
	if rep := get[wire.Operation](t, again); again.header.Get(wire.HeaderReplayed) != "true" || rep.Committed.Index != op.Committed.Index {
		t.Errorf("repeat = %s", again.body)
	}
	other := createCI
	other.Owner = "somebody@else"
	refused(t, n.ask("admin", "POST", wire.PathKeys, other, wire.HeaderRequestID, id), wire.RequestIDReused)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci"), wire.Rotate{}, wire.HeaderRequestID, id), wire.RequestIDReused)
	fresh := createCI
	fresh.Name = "ci-2"
	refused(t, n.ask("admin", "POST", wire.PathKeys, fresh, wire.HeaderRequestID, "0191d7a0-0000-7000-8000-000000000000"), wire.StaleRequestID)
	refused(t, n.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, "nonsense"), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.PathKeys, createCI), wire.AlreadyExists)
}

func TestUnknownOutcome(t *testing.T) {
	n := start(t)
	n.ledger.LoseNextAnswer()
	id := newID()
	e := refused(t, n.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, id), wire.OutcomeUnknown)
	if e.RequestID != id {
		t.Errorf("%+v", e)
	}
	r := n.ask("admin", "POST", wire.PathKeys, createCI, wire.HeaderRequestID, id)
	if get[wire.Operation](t, r); r.header.Get(wire.HeaderReplayed) != "true" {
		t.Error("the repeat did it twice")
	}
	n.ledger.FailNext(ledger.ErrBusy)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathSuspend, "ci"), wire.VersionVerb{}), wire.IllegalTransition) // refused by the trial: nothing was proposed
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.Superseded}), wire.Busy)
}

func TestPlan(t *testing.T) {
	n := start(t)
	before := n.ledger.View().Position().Index
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.PathKeys+"?plan=true", createCI))
	if !op.Plan || op.Reached != "" || len(op.Effects) == 0 || n.ledger.View().Position().Index != before {
		t.Errorf("plan = %+v", op)
	}
	n.create(createCI)
	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+"?plan=true", wire.Revoke{Reason: lifecycle.KeyCompromise}))
	if op.BlastRadius == nil || op.Published.WithinMS == 0 || len(op.Effects) < 3 {
		t.Errorf("plan of a revocation = %+v", op)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathResume, "ci")+"?plan=true", wire.VersionVerb{}), wire.IllegalTransition)
	refused(t, n.ask("signer", "POST", wire.Path(wire.PathRevoke, "ci")+"?plan=true", wire.Revoke{Reason: lifecycle.Superseded}), wire.Denied)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci")+"?plan=yes", wire.Rotate{}), wire.Invalid)
	if n.ledger.View().Version("ci", 1).State != lifecycle.Active {
		t.Error("a plan changed something")
	}
}

func TestWait(t *testing.T) {
	n := start(t)
	r := n.ask("admin", "POST", wire.PathKeys+"?wait=active&within=20ms", createCI)
	op := get[wire.Operation](t, r)
	if r.status != http.StatusAccepted || op.Reached != wire.Committed {
		t.Errorf("a level that is not reached in time: %d %s", r.status, r.body)
	}
	done := make(chan reply, 1)
	go func() {
		done <- n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID)+"?wait=active&within=30s", nil)
	}()
	n.bind("ci", 1)
	n.ledger.Must(t, &command.ActivateVersion{Key: "ci", Version: 1})
	r = <-done
	if got := get[wire.Operation](t, r); r.status != http.StatusOK || got.Reached != wire.Activated {
		t.Errorf("held: %d %s", r.status, r.body)
	}
	for _, bad := range []string{"?wait=happy", "?wait=destroyed", "?within=soon"} {
		refused(t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci")+bad, wire.Rotate{}), wire.Invalid)
	}
	if n.ledger.View().Key("ci").Newest != 1 {
		t.Error("a request with a wrong level was carried out")
	}
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID)+"?wait=destroyed", nil), wire.Invalid)
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID)+"?wait=fenced", nil), wire.Invalid)
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, newID()), nil), wire.OperationNotFound)
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, "x"), nil), wire.Invalid)
	// What can no longer be reached is not waited for.
	n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci"), wire.Rotate{})
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.KeyCompromise}))
	ops := get[wire.List[wire.Operation]](t, n.ask("admin", "GET", wire.PathOperations+"?limit=2", nil))
	if len(ops.Items) != 2 || ops.Items[0].Verb != "revoke" || ops.Items[1].Verb != "rotate" || ops.Next == "" {
		t.Fatalf("operations = %+v", ops)
	}
	r = n.ask("admin", "GET", wire.Path(wire.PathOperation, ops.Items[1].RequestID)+"?wait=active&within=30s", nil)
	if got := get[wire.Operation](t, r); r.status != http.StatusAccepted || !got.Complete || got.Reached != wire.Committed {
		t.Errorf("a level that cannot be reached: %d %s", r.status, r.body)
	}
	rest := get[wire.List[wire.Operation]](t, n.ask("admin", "GET", wire.PathOperations+"?cursor="+string(ops.Next), nil))
	if len(rest.Items) != 1 || rest.Items[0].Verb != "create" {
		t.Errorf("the next page = %+v", rest.Items)
	}
	if mine := get[wire.List[wire.Operation]](t, n.ask("signer", "GET", wire.PathOperations, nil)); len(mine.Items) != 0 {
		t.Errorf("signer sees operations of others: %+v", mine.Items)
	}
}
