package api

import (
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// ClusterStatus is what the cluster layer knows beyond the replicated state.
type ClusterStatus struct {
	Term           uint64
	Reachable      map[lifecycle.NodeID]bool // voters heard of lately, this node among them
	LastSnapshotAt time.Time
	Nodes          map[lifecycle.NodeID]NodeHealth // what nodes last said of themselves
}

// NodeHealth is what one node last said of itself; what it did not say is nil.
type NodeHealth struct {
	State         string // leader, follower, candidate, nonvoter, unreachable
	Version       string
	AppliedIndex  uint64
	Staleness     *time.Duration
	LeaseUsable   bool
	LeaseExpires  *time.Duration
	LeaseWhy      string
	Keystore      hsm.Health
	Orphans       int
	Missing       int
	ClockOffset   *time.Duration
	CertExpiresAt time.Time
	DiskFull      bool
}

func (c *call) showStatus() (any, error) {
	if err := c.may(access.StatusRead, ""); err != nil {
		return nil, err
	}
	row := c.snap.Cluster()
	if row == nil {
		return nil, wire.Errorf(wire.NotInitialised, "the cluster has no genesis yet").WithHint("chancery init --config FILE")
	}
	var known ClusterStatus
	if c.Cluster != nil {
		known = c.Cluster(c.r.Context())
	}
	leadership := c.Service.Ledger().Leadership()
	out := wire.Status{Cluster: row.Name, Epoch: row.Epoch, Format: wire.FormatStatus{Current: row.Format, CanRaiseTo: max(authority.FormatKnown(c.snap.View), row.Format)},
		Leader: wire.Text(nodeName(c.snap.View, leadership.Leader)), Term: leadership.Term, Nodes: []wire.NodeStatus{}, OpenFences: []wire.OpenFence{},
		LastSnapshotAt: wire.AsTime(known.LastSnapshotAt), Problems: []wire.Problem{}, AnsweredBy: c.Node,
		Position: transport.Position(c.snap.Position()), AsOf: wire.AsTime(c.snap.AsOf), Freshness: transport.FreshnessOf(c.snap)}
	p := &problems{call: c, status: &out, known: &known, me: c.snap.Principal(c.caller.Principal)}
	p.nodes(leadership.Leader)
	p.openFences()
	p.approvals()
	p.webhooks()
	p.quorum()
	p.keys()
	p.log()
	return out, nil
}

// problems fills a status in and notes what a person should look at.
type problems struct {
	*call
	status *wire.Status
	known  *ClusterStatus
	me     *lifecycle.Principal
}

func (p *problems) add(severity, code, subject, hint, format string, args ...any) {
	p.call.problem(p.status, wire.Problem{Severity: severity, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// problem keeps critical ones first, each in the order it was found.
func (c *call) problem(s *wire.Status, n wire.Problem) {
	at := len(s.Problems)
	if n.Severity == wire.Critical {
		for at > 0 && s.Problems[at-1].Severity != wire.Critical {
			at--
		}
	}
	s.Problems = append(s.Problems[:at], append([]wire.Problem{n}, s.Problems[at:]...)...)
}

const clockOffsetMax = 5 * time.Second // beyond it a leader proposes nothing dated

func (p *problems) nodes(leader lifecycle.NodeID) {
	for _, n := range p.snap.Nodes() {
		if n.Status == lifecycle.Removed {
			continue
		}
		h, heard := p.known.Nodes[n.ID]
		p.status.Nodes = append(p.status.Nodes, nodeStatus(n, h, heard, leader))
		if n.Status == lifecycle.Quarantined {
			p.add(wire.Warning, "node_quarantined", n.Name, "chancery node remove "+n.Name, "%s is quarantined and does not sign", n.Name)
		}
		for _, s := range n.Seals {
			p.sealed(n, s)
		}
		if p.known.Nodes != nil {
			p.health(n, h, heard)
		}
	}
	if leader == "" {
		p.add(wire.Critical, "no_leader", "", "bring a majority of the voters back; to stop a node from signing now, on it: chancery seal --local --reason R",
			"no leader is known here: nothing can be changed, and each node signs until its lease ends")
	}
}

// sealed names an order given on a node's own machine that holds.
func (p *problems) sealed(n *lifecycle.Node, s lifecycle.Seal) {
	if s.LiftedAt != 0 {
		return
	}
	what := "nothing"
	if s.Key != "" {
		what = "nothing with " + string(s.Key)
	}
	p.add(wire.Warning, "node_sealed", n.Name, "chancery unseal "+n.Name+" --id "+s.ID+" --reason TEXT", "%s signs %s: sealed at %s by %s: %s", n.Name, what, s.At, s.By, s.Reason)
}

func nodeStatus(n *lifecycle.Node, h NodeHealth, heard bool, leader lifecycle.NodeID) wire.NodeStatus {
	w := wire.NodeStatus{Node: n.Name, ID: string(n.ID), Status: n.Status, Roles: nodeRoleNames(n), State: h.State, Version: n.Version,
		AppliedIndex: h.AppliedIndex, StalenessMS: ms(h.Staleness), ClockOffsetMS: ms(h.ClockOffset), CertExpiresAt: wire.AsTime(h.CertExpiresAt),
		Lease:    wire.Lease{Usable: h.LeaseUsable, ExpiresInMS: ms(h.LeaseExpires), Why: wire.Text(h.LeaseWhy)},
		Keystore: wire.Keystore{Driver: n.Driver, OK: h.Keystore.OK, Orphans: h.Orphans, Missing: h.Missing, Why: wire.Text(h.Keystore.Why)}}
	if h.Version != "" {
		w.Version = h.Version
	}
	switch {
	case n.ID == leader:
		w.State = "leader"
	case w.State == "" && heard:
		w.State = "follower"
	case w.State == "":
		w.State = unreachable
	}
	return w
}

func ms(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	n := d.Milliseconds()
	return &n
}

func (p *problems) health(n *lifecycle.Node, h NodeHealth, heard bool) {
	show := "chancery node show " + n.Name
	if !heard || h.State == unreachable {
		p.add(wire.Warning, "node_unreachable", n.Name, "look at the server on "+n.Name+"; if it is gone for good: chancery node remove "+n.Name+" --lost",
			"%s does not answer", n.Name)
		return
	}
	if h.DiskFull {
		p.add(wire.Critical, "disk_full", n.Name, "free some space under data_dir on "+n.Name, "the disk of %s is full: it withdraws from what it held in reserve, and does nothing else", n.Name)
	}
	if n.Signs() && !h.LeaseUsable {
		p.add(wire.Warning, "no_lease", n.Name, leaseHint(n.Name, p.status.Leader), "%s cannot sign: %s", n.Name, leaseWhy(h))
	}
	if n.Signer && !h.Keystore.OK {
		p.add(wire.Critical, "keystore_failed", n.Name, "chancery keystore check --config FILE, on "+n.Name, "the key store of %s does not work: %s", n.Name, h.Keystore.Why)
	}
	if h.Missing > 0 {
		p.add(wire.Critical, "instances_missing", n.Name, show, "%d key pairs that the log knows are not in the key store of %s", h.Missing, n.Name)
	}
	if h.Orphans > 0 {
		p.add(wire.Warning, "orphans", n.Name, show, "%d key pairs in the key store of %s belong to nothing; they are not used and not removed", h.Orphans, n.Name)
	}
	if d := h.ClockOffset; d != nil && d.Abs() > clockOffsetMax {
		p.add(wire.Critical, "clock_off", n.Name, "set the clock of "+n.Name+", for example with chrony", "the clock of %s is off by %s", n.Name, d.Round(time.Millisecond))
	}
	if !h.CertExpiresAt.IsZero() && h.CertExpiresAt.Before(p.Clock().Add(48*time.Hour)) {
		p.add(wire.Warning, "certificate_expiring", n.Name, "look at the log of "+n.Name, "the node certificate of %s expires at %s and was not renewed", n.Name, wire.AsTime(h.CertExpiresAt))
	}
}

func leaseWhy(h NodeHealth) string {
	if h.LeaseWhy == "" {
		return "it holds no lease"
	}
	return "no lease (" + h.LeaseWhy + ")"
}

func leaseHint(node string, leader wire.Text) string {
	if leader == "" {
		return "bring a majority of the voters back: chancery status --watch"
	}
	return "look at the log of " + node + "; the others sign: chancery status --watch"
}

func (p *problems) quorum() {
	q := &p.status.Quorum
	for _, n := range p.snap.Nodes() {
		if n.Voter && n.Status != lifecycle.Removed {
			q.Voters++
			if p.known.Reachable == nil || p.known.Reachable[n.ID] {
				q.Reachable++
			}
		}
	}
	q.CanLose = max(0, q.Reachable-(q.Voters/2+1))
	if q.Voters > 1 && q.CanLose == 0 {
		p.add(wire.Warning, "no_spare_voter", "", "bring the unreachable voters back", "%d of %d voters are reachable: losing one more stops all changes", q.Reachable, q.Voters)
	}
}

// keys counts keys and finds those that need somebody.
func (p *problems) keys() {
	now := p.now()
	p.snap.EachKey("", func(k *lifecycle.Key) bool {
		counts := &p.status.Keys
		counts.Total++
		late := overdue(p.snap.View, k, now)
		if late {
			counts.Overdue++
		}
		ended := k.Active == 0 && allEnded(p.snap.Versions(k.ID))
		if k.Active == 0 && !ended {
			counts.WithoutActive++
		}
		if len(p.status.Problems) >= maxProblems || !p.mayRead(k.ID) {
			return true
		}
		p.key(k, now, late, ended)
		return true
	})
}

// mayRead reports whether the caller may see the key.
func (p *problems) mayRead(id lifecycle.KeyID) bool {
	return access.Decide(p.me, access.KeyRead, id).Allowed
}

// maxProblems keeps the answer to what a person reads; the counts say the rest.
const maxProblems = 200

func (p *problems) key(k *lifecycle.Key, now lifecycle.Instant, late, ended bool) {
	name := string(k.ID)
	if late {
		hint := "chancery key rotate " + name
		if k.Newest > k.Active || k.Pause != nil {
			hint = "chancery rotation show " + name // there is no beginning another one
		}
		p.add(wire.Warning, "rotation_overdue", name, hint, "version %d of %s is older than its policy wants", k.Active, name)
	}
	if k.Active == 0 && !ended {
		p.add(wire.Warning, "no_active_version", name, "chancery key show "+name, "%s has no active version: nothing signs", name)
	}
	if k.ConfirmBy != 0 && now > k.ConfirmBy {
		p.add(wire.Warning, "business_reason_stale", name, "chancery key confirm "+name+" --reason 'why it still exists'", "nobody confirmed since %s why %s exists", k.ConfirmBy, name)
	}
	p.rotation(k, now)
	for _, i := range p.snap.Instances(k.ID, k.Active) {
		n := p.snap.Node(i.Node)
		if i.Condition == lifecycle.Lost && i.Revocation == nil && n != nil && n.Signs() {
			p.add(wire.Critical, "instance_lost", name, "chancery node reprovision "+n.Name+" --plan", "%s has lost its instance of %s version %d: %s", n.Name, name, k.Active, i.Detail)
		}
	}
}

// allEnded reports whether no version can ever sign again by itself.
func allEnded(versions []*lifecycle.Version) bool {
	for _, v := range versions {
		if !v.State.Terminal() && v.State != lifecycle.Deactivated {
			return false
		}
	}
	return true
}

// log looks at the checkpoints that a majority agreed on.
func (p *problems) log() {
	every := p.snap.Cluster().Settings.CheckpointEvery
	confirmed, pos := p.snap.Confirmed(), p.snap.Position()
	mark := p.snap.Mark()
	if mark.Index > confirmed.Index && pos.Index > mark.Index+checkpointSlack {
		p.add(wire.Warning, "checkpoint_old", "", "chancery log verify", "the last checkpoint that a majority agreed on is of entry %d, %d entries ago; one is due every %s",
			confirmed.Index, pos.Index-confirmed.Index, every)
	}
}

// checkpointSlack is how many entries may follow a mark before its agreement is
// missed.
const checkpointSlack = 1000
