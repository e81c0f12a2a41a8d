package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/webhook"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// JoinTokenTTL is how long a join token lives when nobody says.
const JoinTokenTTL = 10 * lifecycle.Minute

// JoinSecret is what the holder of a join token knows. The log keeps only
// JoinMACKey of it, which checks a proof but cannot be turned back.
type JoinSecret struct {
	ID        string
	Secret    [16]byte
	ExpiresAt lifecycle.Instant
}

// JoinMACKey is the key of the proof of a join token.
func JoinMACKey(secret [16]byte) [32]byte {
	return sha256.Sum256(append([]byte("chancery-join/1\x00"), secret[:]...))
}

// JoinProof is the HMAC by which a joiner shows that it holds the token, over
// everything it says of itself, so that nothing in between can be exchanged.
func JoinProof(macKey [32]byte, clusterID string, n command.NodeRecord) []byte {
	m := hmac.New(sha256.New, macKey[:])
	body := command.Marshal(n)
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(clusterID)))
	m.Write(size[:])
	m.Write([]byte(clusterID))
	m.Write(body)
	return m.Sum(nil)
}

// CreateJoinToken lets one node in. The secret is returned here and never again.
func (s *Service) CreateJoinToken(ctx context.Context, req Request, ttl lifecycle.Milliseconds) (Result, JoinSecret, error) {
	if ttl == 0 {
		ttl = JoinTokenTTL
	}
	if ttl < lifecycle.Second || ttl > lifecycle.Day {
		return Result{}, JoinSecret{}, refuse("invalid", "--ttl 10m", "a join token lives for 1s to 1d, not %s", ttl)
	}
	id, err := s.drawHex(8)
	if err != nil {
		return Result{}, JoinSecret{}, err
	}
	j := JoinSecret{ID: id}
	if err := s.draw(j.Secret[:]); err != nil {
		return Result{}, JoinSecret{}, err
	}
	key := JoinMACKey(j.Secret)
	r, err := s.change(ctx, req, access.NodeEdit, "", func(*state.View) (command.Body, []command.RowRef, error) {
		j.ExpiresAt = s.Now().Add(ttl)
		return &command.AddJoinToken{ID: id, MACKey: key[:], ExpiresAt: j.ExpiresAt}, nil, nil
	})
	if err != nil || r.DryRun || r.Outcome.Replayed {
		return r, JoinSecret{}, err
	}
	return r, j, nil
}

// Join lets a node in that proves a join token over what it says of itself. The
// caller has checked that the TLS peer holds the key of record.ID.
func (s *Service) Join(ctx context.Context, tokenID string, record command.NodeRecord, proof []byte, remote string) (state.Outcome, error) {
	if l := s.ledger.Leadership(); !l.Self || !l.Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	v := s.View()
	t := v.JoinToken(tokenID)
	ok := t != nil && hmac.Equal(JoinProof([32]byte(t.MACKey), v.Cluster().ID, record), proof)
	if err := s.recordNode(ctx, record.ID, "node:"+record.Name, "node.join", remote, ok); err != nil {
		return state.Outcome{}, err
	}
	if !ok {
		return state.Outcome{}, fmt.Errorf("%w: the join token is unknown, or its proof is wrong: make a new one with `chancery node token`", ErrUnauthenticated)
	}
	o, err := s.proposeAs(ctx, "node:"+record.Name, &command.JoinNode{TokenID: tokenID, Node: record})
	if err != nil {
		return o, err
	}
	n := s.View().Node(record.ID)
	if err := s.members.AddNonvoter(ctx, n.ServerID(), n.Addrs.Node); err != nil {
		return o, fmt.Errorf("add the server: %w", err)
	}
	return o, nil
}

// proposeAs proposes without a principal's request: for nodes and the system.
func (s *Service) proposeAs(ctx context.Context, actor string, body command.Body, reads ...command.RowRef) (state.Outcome, error) {
	cmd := s.commandOf(actor, body, reads...)
	if o := state.Trial(s.View(), cmd); !o.OK() {
		return o, o.Err()
	}
	return s.propose(ctx, cmd)
}

func (s *Service) commandOf(actor string, body command.Body, reads ...command.RowRef) *command.Command {
	return &command.Command{Body: body, Header: command.Header{At: s.Now(), Actor: actor, Node: s.ledger.NodeID(), Reads: reads}}
}

func (s *Service) propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	o, err := s.ledger.Propose(ctx, cmd)
	if err != nil {
		return o, fmt.Errorf("propose %s: %w", cmd.Body.Kind(), err)
	}
	return o, o.Err()
}

func (s *Service) recordNode(ctx context.Context, id lifecycle.NodeID, actor, verb, remote string, allowed bool) error {
	if _, err := s.audit.Append(ctx, audit.Record{Kind: audit.Decision, Principal: actor, Verb: verb, Remote: remote, Allowed: allowed, Detail: "node " + string(id)}); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return nil
}

func findNode(v *state.View, name string) (*lifecycle.Node, error) {
	n := v.NodeByName(name)
	if n == nil {
		return nil, refuse(string(state.NodeNotFound), "chancery node list", "there is no node %q", name)
	}
	return n, nil
}

// PromoteNode gives a node roles. The Raft configuration changes first: a crash
// in between leaves a voter the table does not call one, which a repeat mends.
func (s *Service) PromoteNode(ctx context.Context, req Request, name string, voter, signer bool) (Result, error) {
	return s.nodeChange(ctx, req, name, func(n *lifecycle.Node) command.Body {
		return &command.SetNodeRoles{ID: n.ID, Voter: n.Voter || voter, Signer: n.Signer || signer}
	}, func(n *lifecycle.Node) error {
		if !voter {
			return nil
		}
		return s.members.AddVoter(ctx, n.ServerID(), n.Addrs.Node)
	})
}

// QuarantineNode takes a node's right to sign, or gives it back.
func (s *Service) QuarantineNode(ctx context.Context, req Request, name, reason string, undo bool) (Result, error) {
	status := lifecycle.Quarantined
	if undo {
		status = lifecycle.Member
	}
	return s.nodeChange(ctx, req, name, func(n *lifecycle.Node) command.Body {
		return &command.SetNodeStatus{ID: n.ID, Status: status, Reason: reason}
	}, nil)
}

// RemoveSpec says which node leaves for good.
type RemoveSpec struct {
	Node     string // name
	Reason   string
	Lost     bool          // its key store is gone with it
	Patience time.Duration // longest wait until it has certainly stopped signing
}

// RemoveNode ends a node's membership for good. It is quarantined first, and leaves
// only when the fence of that is reported: a removed node never holds a lease, so no
// later withdrawal has to wait for it. Its instances are lost, and what they signed
// still verifies.
func (s *Service) RemoveNode(ctx context.Context, req Request, spec RemoveSpec) (Result, error) {
	lead := s.ledger.Leadership()
	if !lead.Self || !lead.Ready {
		return Result{}, ledger.ErrNotLeader
	}
	if err := s.mayLeave(ctx, req, spec); err != nil {
		return Result{}, s.confirmed(ctx, lead, err)
	}
	return s.nodeChange(ctx, req, spec.Node, func(n *lifecycle.Node) command.Body {
		if req.DryRun && n.Status == lifecycle.Member {
			return &command.SetNodeStatus{ID: n.ID, Status: lifecycle.Quarantined, Reason: spec.Reason}
		}
		return &command.SetNodeStatus{ID: n.ID, Status: lifecycle.Removed, Reason: spec.Reason, Lost: spec.Lost}
	}, func(n *lifecycle.Node) error { return s.members.RemoveServer(ctx, n.ServerID()) })
}

// mayLeave refuses a removal before anything is done for it, and then stops the node.
func (s *Service) mayLeave(ctx context.Context, req Request, spec RemoveSpec) error {
	v := s.View()
	if err := s.Check(ctx, v, req.Caller, access.NodeEdit, ""); err != nil {
		return err
	}
	n, err := findNode(v, spec.Node)
	if err != nil {
		return err
	}
	if n.ID == s.ledger.NodeID() {
		return refuse("leader_cannot_leave", "chancery node transfer-leader, then remove it", "node %s leads the cluster and cannot remove itself", n.Name)
	}
	if err := s.keepQuorum(n); err != nil {
		return err
	}
	if n.Status == lifecycle.Removed || req.DryRun {
		return nil
	}
	return s.stopNode(ctx, req, n, spec)
}

// stopNode quarantines a node, unless it is, and waits for the fence of that.
func (s *Service) stopNode(ctx context.Context, req Request, n *lifecycle.Node, spec RemoveSpec) error {
	o := state.Outcome{Index: n.QuarantineIndex}
	if n.Status == lifecycle.Member {
		first := req
		first.RequestID = "" // the id is the removal's
		r, err := s.QuarantineNode(ctx, first, n.Name, spec.Reason, false)
		if err != nil {
			return err
		}
		o = r.Outcome
	}
	wait, cancel := context.WithTimeout(ctx, spec.Patience)
	defer cancel()
	v, reached := s.Await(wait, o, Fenced)
	if reached {
		return nil
	}
	w := WithdrawalOf(v, v.Fence(o.Index), s.Now())
	return refuse(string(state.NotFenced), "chancery node show "+n.Name+", and repeat the command",
		"node %s is quarantined and may hold a lease until %s: it is removed when it has certainly stopped signing", n.Name, w.FencedBy)
}

// keepQuorum refuses to remove the only voter.
func (s *Service) keepQuorum(n *lifecycle.Node) error {
	if !n.Voter {
		return nil
	}
	for _, other := range s.View().Nodes() {
		if other.ID != n.ID && other.Voter && other.Status != lifecycle.Removed {
			return nil
		}
	}
	return refuse("last_voter", "promote another node first", "node %s is the only voter: without it nothing could be decided", n.Name)
}

// nodeChange decides and tries the command, changes the Raft configuration, and
// proposes.
func (s *Service) nodeChange(ctx context.Context, req Request, name string, make func(*lifecycle.Node) command.Body, servers func(*lifecycle.Node) error) (Result, error) {
	moved := false
	return s.change(ctx, req, access.NodeEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		n, err := findNode(v, name)
		if err != nil {
			return nil, nil, err
		}
		body, refs := make(n), []command.RowRef{state.RefNode(n)}
		if servers == nil || req.DryRun || moved {
			return body, refs, nil
		}
		trial := &command.Command{Body: body, Header: command.Header{At: s.Now(), Actor: req.Caller.Principal, Node: s.ledger.NodeID(), Reads: refs}}
		if o := state.Trial(v, trial); !o.OK() {
			return nil, nil, o.Err()
		}
		if err := servers(n); err != nil {
			return nil, nil, fmt.Errorf("change the voters: %w", err)
		}
		moved = true
		return body, refs, nil
	})
}

// TransferLeadership hands the lead to a voter, "" = whoever is most up to date.
func (s *Service) TransferLeadership(ctx context.Context, req Request, name string) (Result, error) {
	if l := s.ledger.Leadership(); !l.Self {
		return Result{}, ledger.ErrNotLeader
	}
	v := s.View()
	if _, err := s.decide(ctx, v, req, access.NodeEdit, ""); err != nil {
		return Result{}, err
	}
	var to lifecycle.NodeID
	if name != "" {
		n, err := findNode(v, name)
		if err != nil {
			return Result{}, err
		}
		if !n.Voter || n.Status != lifecycle.Member {
			return Result{}, refuse("not_a_voter", "chancery node promote "+name, "node %s has no vote", n.Name)
		}
		to = n.ID
	}
	if req.DryRun {
		return Result{RequestID: req.RequestID, DryRun: true}, nil
	}
	err := s.members.TransferLeadership(ctx, to)
	s.recordOutcome(req, access.NodeEdit, "", state.Outcome{Detail: "transfer leadership"}, err)
	return Result{RequestID: req.RequestID}, err
}

// SetSettings replaces the cluster's settings; ifMatch is the revision they were
// edited from, 0 = whatever is there.
func (s *Service) SetSettings(ctx context.Context, req Request, ifMatch uint64, edit func(lifecycle.Settings) (lifecycle.Settings, error)) (Result, error) {
	return s.change(ctx, req, access.ClusterEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		c := v.Cluster()
		if ifMatch != 0 && ifMatch != c.Rev {
			return nil, nil, refuse("precondition_failed", "chancery cluster show", "the settings are at revision %d, yours were made from %d", c.Rev, ifMatch)
		}
		settings, err := edit(c.Settings)
		if err != nil {
			var r *Refusal
			if errors.As(err, &r) {
				return nil, nil, err
			}
			return nil, nil, refuse("invalid", "chancery cluster show", "%v", err)
		}
		for _, w := range settings.Webhooks {
			if err := webhook.Check(w); err != nil {
				return nil, nil, refuse("invalid", "chancery cluster show", "%v", err)
			}
		}
		return &command.SetSettings{Settings: settings}, []command.RowRef{state.RefCluster(c)}, nil
	})
}
