//go:build clientonly || windows

package main

import "github.com/urfave/cli/v2"

// serverCommands are not part of this build.
func serverCommands() []*cli.Command { return nil }
