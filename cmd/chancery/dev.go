//go:build !clientonly && !windows

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/cmd/dev"
)

const devDetachTimeout = 3 * time.Minute

func devCommand() *cli.Command {
	dir := func() cli.Flag {
		return &cli.StringFlag{Name: "dir", Usage: "the cluster's `DIR`", Value: "chancery-dev", EnvVars: []string{"CHANCERY_DEV_DIR"}}
	}
	tell := func(name, usage, args string, n int) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: args, Flags: []cli.Flag{dir()}, Action: func(c *cli.Context) error {
			if c.NArg() != n {
				return usagef("usage: chancery dev %s %s", name, args)
			}
			return dev.Control(c.String("dir"), append([]string{name}, c.Args().Slice()...)...)
		}}
	}
	return &cli.Command{
		Name: "dev", Usage: "run a whole cluster on this machine, for trying it out", Category: "server",
		Flags: []cli.Flag{dir(),
			&cli.IntFlag{Name: "nodes", Usage: "how many", Value: 3},
			&cli.StringFlag{Name: "keystore", Usage: "soft, or pkcs11 with one SoftHSM token a node", Value: "soft"},
			&cli.StringFlag{Name: "module", Usage: "PKCS#11 module `PATH`"},
			&cli.BoolFlag{Name: "detach", Usage: "return when every node can sign; end it with chancery dev stop"}},
		Subcommands: []*cli.Command{
			tell("stop", "end the cluster", "", 0),
			tell("kill", "kill -9 a node", "N", 1),
			tell("start", "start a node again", "N", 1),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unknown word %q: chancery dev [stop|kill N|start N]", c.Args().First())
			}
			if c.Bool("detach") {
				return detachDev(c)
			}
			return runDev(c)
		},
	}
}

func runDev(c *cli.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
	defer stop()
	say := func(format string, args ...any) { fmt.Fprintf(c.App.ErrWriter, format+"\n", args...) }
	o := dev.Options{Dir: c.String("dir"), Nodes: c.Int("nodes"), KeyStore: c.String("keystore"), Module: c.String("module"), Binary: binary, Say: say}
	return dev.Run(ctx, o, version, func() { greet(say, o) })
}

func greet(say func(string, ...any), o dev.Options) {
	say("\n%d nodes are up and can sign. In another terminal:\n", o.Nodes)
	say("    . %s", filepath.Join(o.Dir, "env"))
	say("    chancery key create hello --purpose artifact --alg ES256 --owner you@example.com --reason 'try it out'")
	say("    echo hello > hello.txt && chancery sign hello --in hello.txt --out hello.sig\n")
}

// detachDev runs the same command in its own session and waits for the env file,
// which is written last.
func detachDev(c *cli.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir := c.String("dir")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	env := filepath.Join(dir, "env")
	if err := os.Remove(env); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old env file: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "dev", "--dir", dir, "--nodes", fmt.Sprint(c.Int("nodes")), "--keystore", c.String("keystore"), "--module", c.String("module"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	return awaitDev(c, cmd, env, log.Name())
}

func awaitDev(c *cli.Context, cmd *exec.Cmd, env, log string) error {
	ctx, cancel := context.WithTimeout(c.Context, devDetachTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(env); err == nil {
			fmt.Fprintf(c.App.ErrWriter, "%d nodes are up and can sign.\nNext: . %s\nTo end it: chancery dev stop --dir %s\n", c.Int("nodes"), env, filepath.Dir(env))
			return nil
		}
		select {
		case err := <-ended:
			text, readErr := os.ReadFile(log)
			return errors.Join(fmt.Errorf("the cluster did not come up: %v\n%s", err, text), readErr)
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not up yet: see %s", log)
		case <-tick.C:
		}
	}
}
