package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// fenceLevels are the levels of a command that takes a right to sign away.
var fenceLevels = []string{wire.Committed, wire.Fenced, wire.Settled}

func fenceFlag() cli.Flag {
	return &cli.StringFlag{Name: "wait", Value: wire.Fenced, Usage: "committed; fenced: no node signs with it any more; settled: nothing that was on its way is accepted either"}
}

// rearrangeFlags are those of a change that may take a right away and that a rule can
// ask approvals for.
func rearrangeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "wait", Value: wire.Fenced, Usage: "committed; approved: by the people it needs; fenced: no node signs with it any more; settled: nothing that was on its way is accepted either"},
		breakGlassFlag(),
	}
}

// leaderPatience is how long a withdrawal looks for a leader. An election takes less;
// without a quorum there are other ways to stop a key, and the refusal names them.
const leaderPatience = 10 * time.Second

// withdraw carries a command out that takes a right to sign away, and waits for the
// level that --wait names.
func (s *session) withdraw(do func(*client.Client, ...client.Option) (*wire.Operation, error)) error {
	return s.carry(fenceLevels, do)
}

// rearrange is withdraw for a change that a rule can ask approvals for.
func (s *session) rearrange(do func(*client.Client, ...client.Option) (*wire.Operation, error)) error {
	return s.carry(append(fenceLevels[:len(fenceLevels):len(fenceLevels)], wire.Approved), do)
}

// carry carries a change out and waits for the level that --wait names, which must be
// one of levels.
func (s *session) carry(levels []string, do func(*client.Client, ...client.Option) (*wire.Operation, error)) error {
	level := s.String("wait")
	if err := checkLevel(level, levels...); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	opts := s.waits(level)
	if slices.Contains(levels, wire.Fenced) {
		opts = append(opts, client.Patience(leaderPatience))
	}
	op, err := do(c, opts...)
	return s.finish(op, err, level)
}

// missing says of each node that may still sign how long at most; "" when it is
// nodes that nobody waits for.
func missing(op *wire.Operation) string {
	var parts []string
	for _, n := range op.Missing() {
		part := n.Node + ": not heard"
		if n.By != 0 {
			part += "; its lease ends at the latest at " + n.By.String()
		}
		parts = append(parts, part)
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ". ")
	case op.Fenced != nil && op.Fenced.At == 0 && op.Fenced.By != 0:
		return "every node has stopped; the entry that says so is due by " + op.Fenced.By.String()
	case op.Settled != nil && op.Settled.At == 0 && op.Settled.By != 0:
		return "signatures that were on their way are refused by " + op.Settled.By.String() + " at the latest"
	}
	return ""
}

// nodeText is how the right ended on a node, or will end, and how far its new key
// pair is.
func nodeText(n *wire.NodeOutcome) string {
	text := endText(n)
	if i := n.Instance; i != nil && n.WithinMS == 0 {
		text = strings.TrimPrefix(text+"; "+newPairText(i), "; ")
	}
	return text
}

func endText(n *wire.NodeOutcome) string {
	switch {
	case n.Outcome == "":
		return ""
	case n.WithinMS != 0:
		return fmt.Sprintf("%s within %d ms, as things are", n.Outcome, n.WithinMS)
	case n.Outcome == wire.Pending && n.By != 0:
		return n.Outcome + ", by " + n.By.String() + " at the latest"
	case n.Outcome == wire.Pending:
		return n.Outcome
	}
	return fmt.Sprintf("%s after %d ms", n.Outcome, n.MS)
}
