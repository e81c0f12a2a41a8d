package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/transport/wire"
)

func unsealCommand() *cli.Command {
	return changing("unseal", "NODE", "let a node sign again that was sealed on its own machine (an admin's decision; M-of-N approval comes with proposals)", func(s *session) error {
		if s.String("reason") == "" {
			return usagef("chancery unseal needs --reason: it is kept in the log")
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		op, err := c.Unseal(s.ctx, s.arg(0), wire.Unseal{ID: s.String("id"), Reason: s.String("reason")}, s.changes()...)
		return s.finish(op, err, "")
	}, &cli.StringFlag{Name: "id", Usage: "which seal, as chancery node show lists them", DefaultText: "the only one"},
		&cli.StringFlag{Name: "reason", Usage: "kept in the log"})
}

// sealText is a seal in one line.
func sealText(seal wire.Seal) string {
	what := "the whole node"
	if seal.Key != "" {
		what = "key " + seal.Key
	}
	text := fmt.Sprintf("%s, %s by %s: %s", what, when(seal.At), seal.By, seal.Reason)
	if seal.LiftedAt != 0 {
		text += fmt.Sprintf("; lifted %s by %s", when(seal.LiftedAt), seal.LiftedBy)
	}
	return text
}
