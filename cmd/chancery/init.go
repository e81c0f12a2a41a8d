//go:build !clientonly && !windows

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/cmd/daemon"
)

const initTimeout = time.Minute

func initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "found a cluster on this node", Category: "server",
		Flags: []cli.Flag{configFlag(),
			&cli.StringFlag{Name: "admin-out", Usage: "`DIR` for the first admin's credential: ca.pem, admin.crt, admin.key", Required: true}},
		Action: func(c *cli.Context) error {
			conf, err := loadConfig(c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, initTimeout)
			defer cancel()
			id, err := daemon.Init(ctx, conf, c.String("admin-out"), version, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.ErrWriter, "cluster %s (%s) was founded on %s.\nThe admin's credential is in %s: keep admin.key away from the servers.\nNext: chancery server --config %s\n",
				conf.Cluster.Name, id, conf.NodeName, c.String("admin-out"), c.String("config"))
			return nil
		},
	}
}
