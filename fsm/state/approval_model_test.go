package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// conspiracy draws commands of people who try everything to pass the rules by: mallory
// is admin, approver and may hold any key but those of alice, bob and carol, who sign
// whatever is put before them, but each only as themselves.
type conspiracy struct {
	*world
	rng   *rand.Rand
	names []string                   // of everybody
	seen  map[string]map[string]bool // proposal -> whose approvals were taken
	moved int                        // how often the order changed
	last  int                        // newest proposal
}

// order is what must not change without approvals: rules, approvers, admins, roles, the
// keys that approve, and who may break glass.
func order(v *state.View) string {
	s := fmt.Sprintf("%+v %v\n", v.Cluster().Settings.Approvals, v.Cluster().Settings.BreakGlass)
	for _, p := range v.Principals() {
		for _, g := range p.Grants {
			if g.Role == lifecycle.Admin || g.Role == lifecycle.Approver || g.Role == lifecycle.Operator {
				s += fmt.Sprintf("%s %s %v %v\n", p.Name, g, p.SSHKeys, p.RevokedAt != 0)
			}
		}
	}
	v.EachKey("", func(k *lifecycle.Key) bool {
		s += fmt.Sprintf("%s %+v %d\n", k.ID, k.Policy.Approvals, k.Policy.LongestTTL())
		return true
	})
	return s
}

func (c *conspiracy) one(list ...string) string { return list[c.rng.IntN(len(list))] }

func (c *conspiracy) attack() command.Body {
	name := c.one(c.names...)
	switch c.rng.IntN(9) {
	case 0:
		return c.settings(func(s *lifecycle.Settings) {
			if len(s.Approvals) > 0 {
				r := &s.Approvals[c.rng.IntN(len(s.Approvals))]
				r.Needs = 1 + c.rng.IntN(len(r.Approvers))
			}
		})
	case 1:
		return c.settings(func(s *lifecycle.Settings) {
			for i := range s.Approvals {
				s.Approvals[i].Approvers[c.rng.IntN(len(s.Approvals[i].Approvers))] = name
			}
		})
	case 2:
		return c.settings(func(s *lifecycle.Settings) { s.BreakGlass = []string{ledgertest.Admin} })
	case 3:
		return &command.RevokePrincipal{Name: name}
	case 4, 5:
		p := approver(name, ed25519Key(c.one(name, "mallory", "spare")))
		p.Replace = c.View().Principal(name) != nil
		if c.rng.IntN(3) == 0 {
			p.Principal.Grants = append(p.Principal.Grants, lifecycle.Grant{Role: lifecycle.Admin, Keys: "*"})
		}
		return p
	case 6:
		return c.change(func(p *lifecycle.Policy) { p.MaxTTL += lifecycle.Milliseconds(c.rng.IntN(3)) })
	case 7:
		return c.change(func(p *lifecycle.Policy) {
			p.Approvals = []lifecycle.ApprovalRule{{Verb: lifecycle.ApprovePolicy, Needs: 1, Approvers: []string{name}}}
		})
	default:
		return c.settings(func(s *lifecycle.Settings) { s.Approvals = nil })
	}
}

func (c *conspiracy) View() *state.View { return c.l.View() }

// step tries one command and holds the law against what came of it.
func (c *conspiracy) step() {
	before := c.View()
	actor := c.one(c.names...)
	var body command.Body = c.attack()
	signer := ""
	n := max(1, c.last-c.rng.IntN(3))
	p := before.Proposal(pid(n))
	switch c.rng.IntN(8) {
	case 0: // directly
	case 1, 2:
		n = c.last + 1
		body = c.opening(n, body)
	case 3, 4, 5:
		if p != nil {
			signer = c.one("alice", "bob", "carol", "mallory", "spare")
			body = &command.Approve{Proposal: p.ID, Signature: ed25519Key(signer).sign(state.Statement(before.Cluster(), p))}
		}
	case 6:
		if p != nil && c.rng.IntN(4) > 0 {
			body = &command.ExecuteProposal{Proposal: p.ID, Plan: command.Plan{Kind: command.Kind(p.PlanKind), Body: p.PlanBody}}
		} else if p != nil {
			body = c.execution(n, body)
		}
	default:
		body = &command.BreakGlass{Plan: command.PlanOf(body), Reason: "try"}
	}
	var needed *lifecycle.ApprovalRule
	if x, ok := body.(*command.ExecuteProposal); ok {
		inner, err := x.Plan.Open()
		if err != nil {
			c.Fatal(err)
		}
		needed = before.RuleFor(inner)
	}
	cmd := c.l.Command(body)
	cmd.Header.Actor = actor
	o := c.propose(cmd)
	if _, ok := body.(*command.OpenProposal); ok && o.OK() {
		c.last = n
		c.seen[pid(n)] = map[string]bool{}
	}
	if a, ok := body.(*command.Approve); ok && o.OK() {
		approvals := c.View().Proposal(a.Proposal).Approvals
		who := approvals[len(approvals)-1].Principal
		if c.seen[a.Proposal][who] || who == p.RequestedBy {
			c.Fatalf("%s approved what they had approved, or asked for", who)
		}
		c.seen[a.Proposal][who] = true
	}
	if order(before) == order(c.View()) {
		return
	}
	c.moved++
	switch b := body.(type) {
	case *command.ExecuteProposal:
		good := 0
		for who := range c.seen[b.Proposal] {
			if row := before.Principal(who); who != p.RequestedBy && row.RevokedAt == 0 && (needed == nil || needed.Names(who)) {
				good++
			}
		}
		if good < p.Needs || needed != nil && good < needed.Needs {
			c.Fatalf("%s was carried out with %d approvals by %v; the rule in force is %+v", p.Intent, good, c.seen[b.Proposal], needed)
		}
	case *command.BreakGlass:
		if !slices.Contains(before.Cluster().Settings.BreakGlass, actor) {
			c.Fatalf("%s broke glass", actor)
		}
	case *command.RevokePrincipal: // anybody's rights are taken by one person, as long as every rule can be met
		for _, r := range before.Cluster().Settings.Approvals {
			if was, is := couldApprove(before, &r), couldApprove(c.View(), &r); was >= r.Needs && is < r.Needs {
				c.Fatalf("%s was revoked, and %d of the %d that %s needs are left", b.Name, is, r.Needs, r.Verb)
			}
		}
	default:
		if len(before.Cluster().Settings.Approvals) > 0 {
			c.Fatalf("%s by %s changed the order of things without anybody's approval:\n%s\n%s", body.Kind(), actor, order(before), order(c.View()))
		}
	}
}

// couldApprove counts the people a rule names who are there, with the role and a key.
func couldApprove(v *state.View, r *lifecycle.ApprovalRule) (n int) {
	for _, name := range r.Approvers {
		p := v.Principal(name)
		if p != nil && p.RevokedAt == 0 && len(p.SSHKeys) > 0 && slices.ContainsFunc(p.Grants, func(g lifecycle.Grant) bool { return g.Role == lifecycle.Approver }) {
			n++
		}
	}
	return n
}

// TestNobodyChangesTheOrderAlone: no sequence of commands changes approval rules,
// approvers, or the roles and keys behind them without the approvals that were in
// force before.
func TestNobodyChangesTheOrderAlone(t *testing.T) {
	moved := 0
	for seed := range uint64(8) {
		w := newWorld(t)
		w.ok(newKey(ci, w.nodes...))
		for _, name := range approverNames {
			w.ok(approver(name, ed25519Key(name)))
		}
		mallory := approver("mallory", ed25519Key("mallory"))
		mallory.Principal.Grants = append(mallory.Principal.Grants, lifecycle.Grant{Role: lifecycle.Admin, Keys: "*"})
		w.ok(mallory)
		w.ok(w.settings(func(s *lifecycle.Settings) { s.Approvals = allRules() }))
		c := &conspiracy{world: w, rng: rand.New(rand.NewPCG(seed, 4)), seen: map[string]map[string]bool{},
			names: []string{ledgertest.Admin, "alice", "bob", "carol", "mallory", "fresh"}}
		for range 200 {
			c.step()
			w.pass(lifecycle.Minute)
		}
		moved += c.moved
	}
	if moved < 20 {
		t.Errorf("the order changed %d times: the test does not test much", moved)
	}
	t.Logf("the order changed %d times", moved)
}
