package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func nodeCommand() *cli.Command {
	return group("node", "the members of the cluster",
		looking("list", "", "list nodes", listNodes, pageFlags()...),
		looking("show", "NAME", "show a node", showNode),
		changing("token", "", "make a token that lets one node in, once", nodeToken,
			&cli.StringFlag{Name: "ttl", Usage: "how long it may be used", DefaultText: "10m"},
			&cli.StringFlag{Name: "out", Usage: "new file of mode 0600 for the token", DefaultText: "stdout"},
			&cli.BoolFlag{Name: "print-command", Usage: "print what to type on the new machine instead"},
		),
		changing("promote", "NAME", "give a node a vote, or let it sign; both unless one is named", promoteNode,
			&cli.BoolFlag{Name: "voter", Usage: "it votes"}, &cli.BoolFlag{Name: "signer", Usage: "it holds instances and signs"}),
		changing("quarantine", "NAME", "stop a node from signing", func(s *session) error {
			q := wire.Quarantine{Reason: s.String("reason"), Release: s.Bool("release")}
			return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.Quarantine(s.ctx, s.arg(0), q, o...)
			})
		}, fenceFlag(), &cli.StringFlag{Name: "reason", Usage: "kept in the log"}, &cli.BoolFlag{Name: "release", Usage: "take it back"}),
		changing("remove", "NAME", "take a node out of the cluster, when it has certainly stopped signing", func(s *session) error {
			if err := s.confirm(fmt.Sprintf("This will take node %s out; its key pairs sign no more (what depends on them says --plan)", s.arg(0)), s.arg(0)); err != nil {
				return err
			}
			r := wire.RemoveNode{Lost: s.Bool("lost"), Reason: s.String("reason")}
			return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.RemoveNode(s.ctx, s.arg(0), r, o...)
			})
		}, fenceFlag(), &cli.BoolFlag{Name: "lost", Usage: "its key store is gone too"}, &cli.StringFlag{Name: "reason", Usage: "kept in the log"}, yesFlag()),
		changing("reprovision", "NAME", "after its key store was replaced: give up what is lost, have new key pairs made", reprovisionNode,
			&cli.StringFlag{Name: "reason", Usage: "why the old key pairs end: cessationOfOperation, superseded, keyCompromise", DefaultText: "cessationOfOperation"},
			&cli.StringFlag{Name: "comment", Usage: "kept in the log"},
			&cli.BoolFlag{Name: "all", Usage: "give up every key pair of the node, also those it has not reported lost"}, yesFlag()),
		changing("transfer-leader", "[NAME]", "hand leadership over", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			op, err := c.TransferLeader(s.ctx, wire.TransferLeader{Target: s.arg(0)}, s.changes()...)
			return s.finish(op, err, "")
		}),
		changing("rebuild", "NAME", "let a node whose data directory was wiped come back", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			op, err := c.RebuildNode(s.ctx, s.arg(0), wire.Rebuild{Reason: s.String("reason")}, s.changes()...)
			return s.finish(op, err, "")
		}, &cli.StringFlag{Name: "reason", Usage: "kept in the log"}),
	)
}

func listNodes(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Node], error) { return c.Nodes(s.ctx, o...) })
	if err != nil {
		return err
	}
	v := view{value: l, wide: 6, head: []string{"NODE", "ID", "STATUS", "ROLES", "LEADER", "API", "PUBLIC", "NODE ADDR", "VERSION", "DRIVER", "JOINED"}}
	for _, n := range l.Items {
		v.add(n.Name, n.Name, lifecycle.NodeID(n.ID).Short(), string(n.Status), strings.Join(n.Roles, ","), yesNo(n.Leader), n.Addrs.API, n.Addrs.Public, n.Addrs.Node,
			n.Version, n.Driver, when(n.Joined.At))
	}
	return s.showPage(v, l.Next)
}

func showNode(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	n, err := c.Node(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	v := view{value: n, names: []string{n.Name}}
	v.pair("node", n.Name)
	v.pair("id", n.ID)
	v.pair("incarnation", n.Incarnation)
	v.pair("status", string(n.Status))
	v.pair("roles", strings.Join(n.Roles, ", "))
	if f := n.Fence; f != nil {
		v.pair("stopped signing", levelText(f))
	}
	v.pair("leader", yesNo(n.Leader))
	v.pair("api", n.Addrs.API)
	v.pair("public", n.Addrs.Public)
	v.pair("node address", n.Addrs.Node)
	v.pair("gossip", n.Addrs.Gossip)
	v.pair("version", n.Version)
	v.pair("driver", n.Driver)
	v.pair("joined", when(n.Joined.At))
	for _, seal := range n.Seals {
		v.pair("seal "+seal.ID, sealText(seal))
	}
	if n.RemovedAt != 0 {
		v.pair("removed", when(n.RemovedAt))
	}
	return s.show(v)
}

func nodeToken(s *session) error {
	if s.Bool("plan") {
		return usagef("a token is made or not: there is nothing to plan")
	}
	var req wire.CreateJoinToken
	if ttl := s.String("ttl"); ttl != "" {
		if err := req.TTL.UnmarshalText([]byte(ttl)); err != nil {
			return usagef("--ttl: %v", err)
		}
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	file, err := newSecretFile(s.String("out"))
	if err != nil {
		return err
	}
	defer file.close()
	t, err := c.CreateJoinToken(s.ctx, req, s.changes()...)
	if err != nil {
		return err
	}
	if t.Token == "" {
		return wire.Errorf(wire.RequestIDReused, "this request made join token %s before; its secret is not kept anywhere", t.ID).WithHint("make another: chancery node token")
	}
	if file != nil {
		if err := file.write(t.Token, "make another; this one ends by itself"); err != nil {
			return err
		}
		t.Token = ""
	}
	switch {
	case s.format == formatJSON || s.format == formatYAML:
		return s.show(view{value: t})
	case s.Bool("print-command"):
		return s.write("", []byte(joinScript(t)), secretMode)
	case t.Token != "":
		s.notef("join token %s, for one node, until %s", t.ID, when(t.ExpiresAt))
		return s.write("", []byte(t.Token+"\n"), secretMode)
	}
	s.notef("join token %s, for one node, until %s", t.ID, when(t.ExpiresAt))
	return nil
}

// joinScript hands the token over in a file, because arguments are seen by others.
func joinScript(t *wire.JoinToken) string {
	if t.Token == "" {
		return t.Command + "\n"
	}
	return "umask 077; cat >join.token <<'END'\n" + t.Token + "\nEND\n" + strings.ReplaceAll(t.Command, "TOKEN_FILE", "join.token") + "\n"
}

func promoteNode(s *session) error {
	p := wire.Promote{Voter: s.Bool("voter"), Signer: s.Bool("signer")}
	if !p.Voter && !p.Signer {
		p = wire.Promote{Voter: true, Signer: true}
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	op, err := c.Promote(s.ctx, s.arg(0), p, s.changes()...)
	return s.finish(op, err, "")
}
