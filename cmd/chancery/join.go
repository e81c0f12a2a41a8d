//go:build !clientonly && !windows

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/cmd/daemon"
)

func joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "make this node a member of a cluster, without a vote", Category: "server",
		Flags: []cli.Flag{configFlag(), &cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token from chancery node token", Required: true}},
		Action: func(c *cli.Context) error {
			conf, err := loadConfig(c)
			if err != nil {
				return err
			}
			if err := daemon.Join(c.Context, conf, c.String("token-file"), version); err != nil {
				return err
			}
			fmt.Fprintf(c.App.ErrWriter, "%s is a member, without a vote and without the right to sign.\nNext: chancery server --config %s\nThen, as an admin: chancery node promote %s\n",
				conf.NodeName, c.String("config"), conf.NodeName)
			return nil
		},
	}
}

// rebuildCommand is `node rebuild`: it works on a stopped node's directory.
func rebuildCommand() *cli.Command {
	return &cli.Command{
		Name: "rebuild", Usage: "start this stopped node's data over, as a new incarnation; identity, keys and audit journal stay",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			conf, err := loadConfig(c)
			if err != nil {
				return err
			}
			aside, err := daemon.Rebuild(conf)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.ErrWriter, "the old log and state of %s are in %s.\nNext: chancery server --config %s\nThen, as an admin, to give it its vote back: chancery node promote %s\n",
				conf.NodeName, aside, c.String("config"), conf.NodeName)
			return nil
		},
	}
}
