//go:build !clientonly && !windows

package main

import "github.com/urfave/cli/v2"

// serverCommands are the commands that run, prepare or repair a node.
func serverCommands() []*cli.Command {
	return []*cli.Command{devCommand(), keystoreCommand(), initCommand(), serverCommand(), joinCommand(), sealCommand(),
		{Name: "node", Subcommands: []*cli.Command{rebuildCommand()}}}
}
