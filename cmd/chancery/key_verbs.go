package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func versionFlag() cli.Flag {
	return &cli.Uint64Flag{Name: "version", Usage: "which version", DefaultText: "the only one it can mean"}
}

func commentFlag() cli.Flag {
	return &cli.StringFlag{Name: "comment", Usage: "kept in the log"}
}

// checkLevel refuses a level that the verb never reaches.
func checkLevel(level string, allowed ...string) error {
	if slices.Contains(allowed, level) {
		return nil
	}
	return usagef("--wait %q: choose one of %v", level, allowed)
}

type keyVerb = func(*client.Client, context.Context, string, wire.VersionVerb, ...client.Option) (*wire.Operation, error)

// versionVerb is resume: it gives the right to sign back, which a rule can ask
// approvals for.
func versionVerb(name, usage string, do keyVerb) *cli.Command {
	return changing(name, "NAME", usage, func(s *session) error {
		v := wire.VersionVerb{Version: s.Uint64("version"), Comment: s.String("comment")}
		return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
			return do(c, s.ctx, s.arg(0), v, o...)
		})
	}, append(governedFlags(), versionFlag(), commentFlag())...)
}

// stoppingVerb is suspend or deactivate: it takes the right to sign away.
func stoppingVerb(name, usage string, do keyVerb) *cli.Command {
	return changing(name, "NAME", usage, func(s *session) error {
		v := wire.VersionVerb{Version: s.Uint64("version"), Comment: s.String("comment")}
		return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
			return do(c, s.ctx, s.arg(0), v, o...)
		})
	}, versionFlag(), commentFlag(), fenceFlag())
}

func rotateCommand() *cli.Command {
	return changing("rotate", "NAME", "make the next version; it is published before it signs", func(s *session) error {
		level := s.String("wait")
		if err := checkLevel(level, wire.Committed, wire.Prepared, wire.Published, wire.Activated); err != nil {
			return err
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		op, err := c.Rotate(s.ctx, s.arg(0), wire.Rotate{Comment: s.String("comment")}, s.waits(level)...)
		return s.finish(op, err, level)
	}, &cli.StringFlag{Name: "wait", Value: wire.Prepared, Usage: "prepared, published or active"}, commentFlag())
}

func activateCommand() *cli.Command {
	return changing("activate", "NAME", "make a published version the one that signs", func(s *session) error {
		if s.Bool("early") && s.String("comment") == "" {
			return usagef("--early skips the publication lead: say why with --comment")
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		level := s.String("wait")
		if err := checkLevel(level, append(governedLevels, fenceLevels...)...); err != nil {
			return err
		}
		v := wire.VersionVerb{Version: s.Uint64("version"), Early: s.Bool("early"), Comment: s.String("comment")}
		op, err := c.Activate(s.ctx, s.arg(0), v, s.waits(level)...)
		return s.finish(op, err, level)
	}, versionFlag(), commentFlag(),
		&cli.StringFlag{Name: "wait", Value: wire.Committed, Usage: "committed; approved, with --early; or fenced or settled, for the version that signed before"},
		breakGlassFlag(),
		&cli.BoolFlag{Name: "early", Usage: "do not wait for the publication lead: verifiers may not know the new key yet"})
}

func revokeCommand() *cli.Command {
	return changing("revoke", "NAME", "withdraw trust from a key, a version or one instance", revokeKey,
		&cli.Uint64Flag{Name: "version", Usage: "only this version", DefaultText: "all"},
		&cli.StringFlag{Name: "instance", Usage: "only this instance, by its kid; 8 characters will do"},
		&cli.StringFlag{Name: "node", Usage: "only this node's instances"},
		&cli.StringFlag{Name: "reason", Usage: fmt.Sprint(lifecycle.Reasons)},
		&cli.StringFlag{Name: "compromised-since", Usage: "RFC 3339 time, with a compromise reason"},
		&cli.BoolFlag{Name: "distrust", Usage: "out of the trust set at once, whatever the reason"},
		fenceFlag(), commentFlag(),
	)
}

func revokeKey(s *session) error {
	reason, err := lifecycle.ParseReason(s.String("reason"))
	if err != nil {
		return usagef("--reason: %v", err)
	}
	r := wire.Revoke{KID: s.String("instance"), Node: s.String("node"), Reason: reason, Comment: s.String("comment"), Distrust: s.Bool("distrust")}
	if n := s.Uint64("version"); n > 0 {
		r.Versions = []uint64{n}
	}
	if r.KID != "" && (r.Node != "" || r.Versions != nil) {
		return usagef("--instance names everything: leave --node and --version out")
	}
	if since := s.String("compromised-since"); since != "" {
		if r.CompromisedSince, err = wire.ParseTime(since); err != nil {
			return usagef("--compromised-since: %v", err)
		}
	}
	return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.Revoke(s.ctx, s.arg(0), r, o...)
	})
}

func destroyCommand() *cli.Command {
	return changing("destroy", "NAME", "erase the private keys of a version after the waiting period of its policy", func(s *session) error {
		n := s.Uint64("version")
		if n == 0 {
			return usagef("chancery key destroy needs --version: what is destroyed is always named")
		}
		if !s.Bool("cancel") {
			if err := s.confirm(fmt.Sprintf("This will erase every private key of %s version %d, for ever", s.arg(0), n), s.arg(0)); err != nil {
				return err
			}
		}
		d := wire.Destroy{Version: n, Cancel: s.Bool("cancel"), Comment: s.String("comment")}
		return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
			return c.Destroy(s.ctx, s.arg(0), d, o...)
		})
	}, append(governedFlags(), &cli.Uint64Flag{Name: "version", Usage: "which version"},
		&cli.BoolFlag{Name: "cancel", Usage: "take a destruction back that has not begun"}, yesFlag(), commentFlag())...)
}
