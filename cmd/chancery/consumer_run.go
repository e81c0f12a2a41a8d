package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "`FILE` to keep at the trust set, a JWK Set; it is replaced, never written into", Required: true},
		&cli.StringFlag{Name: "exec", Usage: "`COMMAND` of the shell that makes the verifier load the file, run after each change; CHANCERY_JWKS names the file"},
		&cli.DurationFlag{Name: "exec-timeout", Usage: "longest time for it", Value: 30 * time.Second},
		&cli.DurationFlag{Name: "every", Usage: "time between two looks", Value: 10 * time.Second},
		&cli.BoolFlag{Name: "once", Usage: "look, reload, confirm, and end: for a timer or a script"},
	}
}

// follower is what run and confirm have in common: who confirms, and which key.
func follower(s *session) (*client.Follower, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	f := &client.Follower{Client: c, Consumer: s.arg(0), Key: s.String("key"), Instance: s.String("instance")}
	if f.Key == "" {
		x, err := c.Consumer(s.ctx, f.Consumer)
		if err != nil {
			return nil, err
		}
		if len(x.Keys) != 1 {
			return nil, usagef("%s trusts %d keys: name one with --key, and run one of these for each", f.Consumer, len(x.Keys))
		}
		f.Key = x.Keys[0].Key
	}
	if f.Instance == "" {
		if f.Instance, err = os.Hostname(); err != nil {
			return nil, usagef("this machine has no name: give --instance")
		}
	}
	return f, nil
}

func confirmConsumer(s *session) error {
	jwks, err := s.read(s.String("jwks"), maxKeySetFile)
	if err != nil {
		return err
	}
	f, err := follower(s)
	if err != nil {
		return err
	}
	done, err := f.Client.Confirm(s.ctx, f.Consumer, f.Key, f.Instance, jwks)
	if err != nil {
		return err
	}
	return s.show(confirmedView(done))
}

func confirmedView(c *wire.Confirmed) view {
	v := view{value: c, names: []string{c.Instance}}
	v.pair("consumer", c.Consumer)
	v.pair("instance", c.Instance)
	v.pair("key", c.Key)
	v.pair("digest", c.Digest)
	v.pair("published now", fmt.Sprint(c.Current))
	v.pair("proven", orDash(strings.Join(c.Proven, " ")))
	v.pair("unproven", orDash(strings.Join(c.Unproven, " ")))
	v.pair("instances", fmt.Sprintf("%d of %d", c.Confirmed, c.Expect))
	v.pair("expires", when(c.ExpiresAt))
	return v
}

// maxKeySetFile is the size of the largest JWK Set that is read.
const maxKeySetFile = 1 << 20

// runConsumer goes on over anything that can pass: nodes that are away, a reload that
// fails, a token that was replaced in its file.
func runConsumer(s *session) error {
	if s.Duration("every") <= 0 || s.Duration("exec-timeout") <= 0 {
		return usagef("--every and --exec-timeout are longer than 0")
	}
	out := s.String("out")
	if err := s.sparesKeys(out); err != nil {
		return err
	}
	f, err := follower(s)
	if err != nil {
		return err
	}
	f.Every = s.Duration("every")
	f.Log = slog.New(slog.NewTextHandler(s.err, nil))
	f.Install = func(ctx context.Context, _ *client.KeySet, jwks []byte) error { return s.installKeys(ctx, out, jwks) }
	f.Loaded = func() ([]byte, error) { return s.read(out, maxKeySetFile) }
	if !s.Bool("once") {
		s.patient()
		return f.Run(s.ctx)
	}
	done, err := f.Step(s.ctx)
	if err != nil {
		return err
	}
	return s.show(confirmedView(done))
}

// installKeys replaces the file and has it loaded.
func (s *session) installKeys(ctx context.Context, file string, jwks []byte) error {
	if err := replacePublic(file, jwks); err != nil {
		return err
	}
	line := s.String("exec")
	if line == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Duration("exec-timeout"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = append(os.Environ(), "CHANCERY_JWKS="+file)
	cmd.WaitDelay = time.Second // what it has started may hold its output open
	printed, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("reload: %q did not end within %s", line, s.Duration("exec-timeout"))
	case err != nil:
		return fmt.Errorf("reload: %q: %w: %s", line, err, plain(string(bytes.TrimSpace(printed[:min(len(printed), 500)]))))
	}
	return nil
}

// replacePublic replaces a file that everybody may read: whoever opens it sees the old
// text or the new one.
func replacePublic(file string, b []byte) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return replaceFile(filepath.Join(dir, filepath.Base(file)), b, func(f *os.File) error {
		if err := f.Chmod(0o644); err != nil {
			return err
		}
		return f.Sync()
	})
}
