package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func unsealCommand() *cli.Command {
	return changing("unseal", "NODE", "let a node sign again that was sealed on its own machine (a rule can ask approvals for it)", func(s *session) error {
		if s.String("reason") == "" {
			return usagef("chancery unseal needs --reason: it is kept in the log")
		}
		u := wire.Unseal{ID: s.String("id"), Reason: s.String("reason")}
		return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
			return c.Unseal(s.ctx, s.arg(0), u, o...)
		})
	}, append(governedFlags(), &cli.StringFlag{Name: "id", Usage: "which seal, as chancery node show lists them", DefaultText: "the only one"},
		&cli.StringFlag{Name: "reason", Usage: "kept in the log"})...)
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
