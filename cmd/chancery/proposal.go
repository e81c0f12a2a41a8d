package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func proposalCommand() *cli.Command {
	return group("proposal", "changes that wait for approvals",
		looking("list", "", "list proposals that wait", listProposals, append(pageFlags(),
			&cli.StringFlag{Name: "state", Usage: "open, approved, executed, rejected, withdrawn or expired", DefaultText: "those that wait"})...),
		looking("show", "ID", "show a proposal and what it would do", showProposal,
			&cli.BoolFlag{Name: "statement", Usage: "print the exact text to sign, and nothing else: ssh-keygen -Y sign -n " + wire.ApprovalNamespace}),
		changing("approve", "ID", "sign the statement of a proposal with one's SSH key", approveProposal,
			&cli.StringFlag{Name: "ssh-key", Usage: "private key file, or a .pub file whose private half is in the agent", DefaultText: "a key of one's own in the agent"},
			&cli.StringFlag{Name: "signature", Usage: "signature `FILE` that ssh-keygen -Y sign -n " + wire.ApprovalNamespace + " made of the statement, elsewhere perhaps"}),
		changing("reject", "ID", "end a proposal: one approver is enough", endProposal((*client.Client).Reject), commentFlag()),
		changing("withdraw", "ID", "take back what one has asked for", endProposal((*client.Client).WithdrawProposal), commentFlag()),
	)
}

// governedLevels are the levels of a change that ends with its entry and that a rule
// can ask approvals for.
var governedLevels = []string{wire.Committed, wire.Approved}

// governedFlags are those of a change that a rule can ask approvals for.
func governedFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "wait", Value: wire.Committed, Usage: "committed; approved: until the approvals it needs are there and it was carried out"},
		breakGlassFlag(),
	}
}

// whyFlag is the comment of a change that has no place for one in the log.
func whyFlag() cli.Flag {
	return &cli.StringFlag{Name: "comment", Usage: "why, for those who have to approve it"}
}

func breakGlassFlag() cli.Flag {
	return &cli.StringFlag{Name: "break-glass", Usage: "`REASON`: do it without the approvals it needs; only who is named in the settings may, and everybody is told"}
}

func listProposals(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Proposal], error) {
		return c.Proposals(s.ctx, append(o, client.Query(wire.QueryState, s.String("state")))...)
	})
	if err != nil {
		return err
	}
	v := view{value: l, head: []string{"PROPOSAL", "STATUS", "VERB", "SUBJECT", "HAVE", "NEEDS", "BY", "EXPIRES"}}
	for _, p := range l.Items {
		v.add(p.ID, p.ID, string(p.Status), string(p.Verb), orDash(p.Subject), fmt.Sprint(p.Have), fmt.Sprint(p.Needs), p.RequestedBy, when(p.ExpiresAt))
	}
	return s.showPage(v, l.Next)
}

func showProposal(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	if s.Bool("statement") {
		b, err := c.Statement(s.ctx, s.arg(0))
		if err != nil {
			return err
		}
		return s.write("-", b, 0)
	}
	p, err := c.Proposal(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	return s.show(proposalView(p))
}

func proposalView(p *wire.Proposal) view {
	v := view{value: p, names: []string{p.ID}}
	v.pair("proposal", p.ID)
	v.pair("status", string(p.Status))
	v.pair("verb", string(p.Verb))
	v.pair("subject", orDash(p.Subject))
	v.pair("asked by", fmt.Sprintf("%s at %s", p.RequestedBy, when(p.OpenedAt)))
	v.pair("reason", p.Reason)
	v.pair("request", p.RequestID)
	for _, e := range p.Effects {
		v.pair("would", e)
	}
	for _, l := range p.Intent {
		v.pair("intent", l)
	}
	v.pair("approvals", fmt.Sprintf("%d of %d needed, from %s", p.Have, p.Needs, strings.Join(p.Approvers, ", ")))
	for _, a := range p.Approvals {
		v.pair("approved by", fmt.Sprintf("%s at %s with %s", a.By, when(a.At), a.Key))
	}
	switch p.Status {
	case lifecycle.ProposalOpen, lifecycle.ProposalApproved:
		v.pair("expires", when(p.ExpiresAt))
		v.pair("next", "chancery proposal approve "+p.ID+" --ssh-key FILE")
		v.pair("next", "chancery proposal reject "+p.ID+" --comment TEXT")
	default:
		v.pair(string(p.Status), fmt.Sprintf("at %s by %s", when(p.EndedAt), p.EndedBy))
		v.pair("comment", p.Comment)
	}
	return v
}

// approveProposal shows what is signed before it is signed: it is the text that
// counts, not what a node says about it.
func approveProposal(s *session) error {
	if s.String("ssh-key") != "" && s.String("signature") != "" {
		return usagef("--signature is signed already: leave --ssh-key out")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	signature, err := approvalSignature(s, c)
	if err != nil {
		return err
	}
	op, err := c.Approve(s.ctx, s.arg(0), wire.Approve{Signature: signature}, s.changes()...)
	return s.finish(op, err, "")
}

func approvalSignature(s *session, c *client.Client) (string, error) {
	if file := s.String("signature"); file != "" {
		b, err := s.read(file, maxSSHFile)
		return string(b), err
	}
	statement, err := c.Statement(s.ctx, s.arg(0))
	if err != nil {
		return "", err
	}
	key, err := approvalKey(s, c)
	if err != nil {
		return "", err
	}
	defer key.close()
	s.notef("signing with %s:\n%s", ssh.FingerprintSHA256(key.PublicKey()), statement)
	signature, err := key.armoured(wire.ApprovalNamespace, statement)
	if err != nil {
		return "", fmt.Errorf("sign the statement: %w", err)
	}
	return signature, nil
}

// approvalKey is the key that --ssh-key names, or one of the caller's own that the
// agent holds.
func approvalKey(s *session, c *client.Client) (*sshKey, error) {
	if s.String("ssh-key") != "" {
		return openSSHKey(s)
	}
	me, err := c.WhoAmI(s.ctx)
	if err != nil {
		return nil, err
	}
	p, err := c.Principal(s.ctx, me.Principal)
	if err != nil {
		return nil, err
	}
	var own []ssh.PublicKey
	for _, line := range p.SSHKeys {
		if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil { // what cannot be read cannot be in an agent either
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return nil, usagef("%s has no SSH key in this cluster: an admin adds one with chancery principal add %s --replace --ssh-key FILE", p.Name, p.Name)
	}
	key, err := agentKey(s.ctx, own...)
	var usage *usageError
	if errors.As(err, &usage) {
		return nil, usagef("%v; or name --ssh-key FILE, or bring a --signature FILE", err)
	}
	return key, err
}

type ending = func(*client.Client, context.Context, string, wire.EndProposal, ...client.Option) (*wire.Operation, error)

// endProposal is reject or withdraw.
func endProposal(do ending) func(*session) error {
	return func(s *session) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		op, err := do(c, s.ctx, s.arg(0), wire.EndProposal{Comment: s.String("comment")}, s.changes()...)
		return s.finish(op, err, "")
	}
}
