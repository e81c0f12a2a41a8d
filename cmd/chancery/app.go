package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
)

// clientCommands are the commands that speak to a cluster or to files.
func clientCommands() []*cli.Command {
	return []*cli.Command{
		keyCommand(), rotationCommand(), signCommand(), verifyCommand(), jwtCommand(),
		consumerCommand(), issuerCommand(), profileCommand(), certCommand(),
		principalCommand(), tokenCommand(), loginCommand(), authCommand(), proposalCommand(),
		nodeCommand(), unsealCommand(), clusterCommand(),
		waitCommand(), operationsCommand(), eventsCommand(), logCommand(), auditCommand(),
		reportCommand(), statusCommand(), snapshotCommand(), restoreCommand(), recoverCommand(),
		contextCommand(), completionCommand(), versionCommand(), helpCommand(),
	}
}

// newApp builds the command tree. Commands of the server may extend a noun of the
// client (node join-local, log verify --dir): same names are merged.
func newApp(in io.Reader, out, errOut io.Writer) *cli.App {
	app := &cli.App{
		Name:  "chancery",
		Usage: "a distributed authority for signing keys",
		Description: "Start with: chancery dev. Then: chancery key create, chancery sign, chancery status.\n" +
			"What each verb does to a key: chancery help verbs. What ends how: chancery help exit-codes.\n" +
			"One command: chancery help key create.",
		Flags:                     append(globalFlags(), cli.HelpFlag), // our help command keeps urfave/cli from adding it
		Commands:                  merge(clientCommands(), serverCommands()),
		Reader:                    in,
		Writer:                    out,
		ErrWriter:                 errOut,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) },
	}
	for _, c := range app.Commands {
		frame(c)
	}
	return app
}

// A number that is not given is none, and not 0, whatever urfave/cli says of it.
func init() {
	flagLine := cli.FlagStringer
	cli.FlagStringer = func(f cli.Flag) string {
		line := strings.TrimSuffix(flagLine(f), " (default: 0)")
		return strings.TrimSuffix(line, " (default: false)")
	}
}

// frame sets on every command what urfave/cli does not inherit.
func frame(c *cli.Command) {
	c.HideHelpCommand = true
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) }
	for _, sub := range c.Subcommands {
		frame(sub)
	}
}

func merge(base, more []*cli.Command) []*cli.Command {
	for _, m := range more {
		i := slices.IndexFunc(base, func(b *cli.Command) bool { return b.Name == m.Name })
		if i < 0 {
			base = append(base, m)
			continue
		}
		if len(m.Subcommands) == 0 {
			either(base[i], m)
			continue
		}
		base[i].Subcommands = merge(base[i].Subcommands, m.Subcommands)
	}
	return base
}

// either makes one command of two: flags of the server's half say that it is
// meant, as in `node rebuild --config F` beside `node rebuild NAME`.
func either(remote, local *cli.Command) {
	ask := remote.Action
	remote.Usage += "; or on the node itself: " + local.Usage
	remote.Flags = append(remote.Flags, local.Flags...)
	for _, f := range local.Flags {
		if s, ok := f.(*cli.StringFlag); ok {
			s.Required = false
		}
	}
	remote.Action = func(c *cli.Context) error {
		for _, f := range local.Flags {
			if c.IsSet(f.Names()[0]) {
				return local.Action(c)
			}
		}
		return ask(c)
	}
}

// run is main with everything that belongs to the process as arguments.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp(in, out, errOut)
	if len(args) > 1 && args[1] == completeWord {
		return complete(app, args[2:], out)
	}
	argv, err := permute(app, args)
	if err == nil {
		err = app.RunContext(ctx, argv)
	}
	if err == nil {
		return exitDone
	}
	return report(errOut, wantsJSON(args), err)
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "addr", Usage: "api listener of a node, or several: comma lists and repeats are joined [$CHANCERY_ADDR, $CHANCERY_ADDRS]"},
		&cli.StringFlag{Name: "ca", Usage: "the cluster's CA bundle, PEM [$CHANCERY_CA]"},
		&cli.StringFlag{Name: "cert", Usage: "client certificate, PEM [$CHANCERY_CERT]"},
		&cli.StringFlag{Name: "cert-key", Usage: "its private key [$CHANCERY_CERT_KEY]"},
		&cli.StringFlag{Name: "token-file", Usage: "file with a bearer token [$CHANCERY_TOKEN_FILE]"},
		&cli.StringFlag{Name: "context", Usage: "named set of the above, see chancery context [$CHANCERY_CONTEXT]"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "table, wide, json, yaml, csv or name [$CHANCERY_OUTPUT]"},
		&cli.DurationFlag{Name: "timeout", Usage: "longest time for the whole command, waiting included [$CHANCERY_TIMEOUT]", DefaultText: "1m"},
		&cli.StringFlag{Name: "request-id", Usage: "repeat an earlier change: it cannot happen twice [$CHANCERY_REQUEST_ID]"},
		&cli.BoolFlag{Name: "plan", Aliases: []string{"dry-run"}, Usage: "change nothing, print what would happen"},
		&cli.BoolFlag{Name: "verbose", Usage: "show each attempt on stderr"},
	}
}

// group is a noun with verbs.
func group(name, usage string, subs ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: subs, Action: func(c *cli.Context) error {
		if c.Args().Len() > 0 {
			return usagef("chancery %s has no command %q", name, c.Args().First())
		}
		return usagef("chancery %s needs one of: %s", name, strings.Join(names(subs), ", "))
	}}
}

func names(commands []*cli.Command) []string {
	var out []string
	for _, c := range commands {
		if !c.Hidden {
			out = append(out, c.Name)
		}
	}
	return out
}

// looking is a command that changes nothing in the cluster. args describes its
// arguments, "NAME [FILE]": brackets mean that one may be left out.
func looking(name, args, usage string, do func(*session) error, flags ...cli.Flag) *cli.Command {
	return command(name, args, usage, false, do, flags)
}

// changing is a command that takes --plan and --request-id.
func changing(name, args, usage string, do func(*session) error, flags ...cli.Flag) *cli.Command {
	return command(name, args, usage, true, do, flags)
}

func command(name, args, usage string, changes bool, do func(*session) error, flags []cli.Flag) *cli.Command {
	cmd := &cli.Command{Name: name, ArgsUsage: args, Usage: usage, Flags: flags}
	cmd.Action = func(c *cli.Context) error {
		if err := checkArgs(c, args); err != nil {
			return err
		}
		if !changes && c.Bool("plan") {
			return usagef("chancery %s changes nothing: there is nothing to plan", c.Command.HelpName)
		}
		s, err := newSession(c)
		if err != nil {
			return err
		}
		defer s.close()
		err = do(s)
		var changed *client.EpochChanged
		if errors.As(err, &changed) {
			err = errors.Join(err, forgetPosition(s.profile))
		}
		return err
	}
	return cmd
}

func checkArgs(c *cli.Context, spec string) error {
	words := strings.Fields(spec)
	required := 0
	for _, w := range words {
		if w != "..." && !strings.HasPrefix(w, "[") {
			required++
		}
	}
	n := c.Args().Len()
	name := strings.TrimPrefix(c.Command.HelpName, "chancery ")
	if n < required {
		return usagef("chancery %s needs %s", name, strings.Join(words[n:required], " and "))
	}
	if n > len(words) && !strings.HasSuffix(spec, "...") {
		return usagef("chancery %s does not take %q", name, c.Args().Get(len(words)))
	}
	return nil
}

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
