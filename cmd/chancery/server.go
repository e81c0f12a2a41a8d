//go:build !clientonly && !windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/cmd/daemon"
)

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "configuration `FILE`", Value: "/etc/chancery/chancery.toml", EnvVars: []string{"CHANCERY_CONFIG"}}
}

// loadConfig reads the server's configuration.
func loadConfig(c *cli.Context) (daemon.Config, error) {
	return daemon.LoadConfig(c.String("config"), os.Environ())
}

func serverCommand() *cli.Command {
	return &cli.Command{
		Name: "server", Usage: "run a node", Category: "server",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "check-config", Usage: "read the configuration, say what is wrong with it, and end"},
			&cli.BoolFlag{Name: "end-with-stdin", Usage: "end when standard input closes", Hidden: true}},
		Action: func(c *cli.Context) error {
			conf, err := loadConfig(c)
			if err != nil {
				return err
			}
			if c.Bool("check-config") {
				fmt.Fprintf(c.App.ErrWriter, "%s is in order: node %s, data in %s\n", c.String("config"), conf.NodeName, conf.DataDir)
				return nil
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
			defer stop()
			if c.Bool("end-with-stdin") {
				ctx = endWithStdin(ctx)
			}
			defer notify("STOPPING=1")
			err = daemon.Run(ctx, conf, version, func(*daemon.Daemon) { notify("READY=1") })
			if errors.Is(err, hsm.ErrLocked) {
				return &coded{err, exitLocked}
			}
			return err
		},
	}
}

// endWithStdin ends the context when whoever started this process has gone.
func endWithStdin(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			slog.Debug("read standard input", "err", err)
		}
	}()
	return ctx
}

func notify(state string) {
	if err := daemon.Notify(state); err != nil {
		slog.Warn("notify the service manager", "err", err)
	}
}
