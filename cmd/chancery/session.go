package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

const defaultTimeout = time.Minute

// session is one run of one command.
type session struct {
	*cli.Context
	ctx      context.Context
	cancel   context.CancelFunc
	in       io.Reader
	out, err io.Writer
	format   string
	timeout  time.Duration
	profile  profile
	conn     *client.Client
}

func newSession(c *cli.Context) (*session, error) {
	s := &session{Context: c, in: c.App.Reader, out: c.App.Writer, err: c.App.ErrWriter, timeout: c.Duration("timeout")}
	p, err := resolveProfile(c)
	if err != nil {
		return nil, err
	}
	s.profile = p
	if s.format = firstOf(c.String("output"), os.Getenv("CHANCERY_OUTPUT"), formatTable); !slices.Contains(formats, s.format) {
		return nil, usagef("unknown output %q: choose one of %s", s.format, strings.Join(formats, ", "))
	}
	if v := os.Getenv("CHANCERY_TIMEOUT"); v != "" && !c.IsSet("timeout") {
		if s.timeout, err = time.ParseDuration(v); err != nil {
			return nil, usagef("CHANCERY_TIMEOUT=%q: write it like 30s or 5m", v)
		}
	}
	if s.timeout < 0 {
		return nil, usagef("--timeout %s is negative", s.timeout)
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	s.ctx, s.cancel = context.WithTimeout(c.Context, s.timeout)
	return s, nil
}

func (s *session) close() {
	s.cancel()
	if s.conn == nil {
		return
	}
	if err := keepPosition(s.conn, s.profile); err != nil && s.Bool("verbose") {
		s.notef("chancery: %v", err)
	}
	s.conn.Close()
}

// patient lifts the default time limit: for commands that run until stopped.
func (s *session) patient() {
	if s.IsSet("timeout") {
		return
	}
	s.cancel()
	s.ctx, s.cancel = context.WithCancel(s.Context.Context)
}

// client connects to the cluster that flags, environment and context name.
func (s *session) client() (*client.Client, error) {
	if s.conn != nil {
		return s.conn, nil
	}
	if len(s.profile.Addrs) == 0 {
		return nil, usagef("which cluster? Name it with --addr, CHANCERY_ADDR or a context (chancery context add), or start one: chancery dev")
	}
	level := slog.LevelError
	if s.Bool("verbose") {
		level = slog.LevelDebug
	}
	conn, err := client.New(client.Config{
		Addrs: s.profile.Addrs, Public: s.publics(), CAFile: s.profile.CA,
		CertFile: s.profile.Cert, KeyFile: s.profile.CertKey, TokenFile: s.profile.TokenFile,
		Timeout: s.timeout,
		Logger:  slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return nil, err
	}
	anchor(conn, s.profile)
	s.conn = conn
	return conn, nil
}

// publics are the public listeners that flags or the environment name.
func (s *session) publics() []string {
	if given := splitAddrs(s.StringSlice("public")...); len(given) > 0 {
		return given
	}
	return splitAddrs(os.Getenv("CHANCERY_PUBLIC"))
}

// givenRequestID is the id of the request that is repeated, "" when it is a new one.
func (s *session) givenRequestID() string {
	return firstOf(s.String("request-id"), os.Getenv("CHANCERY_REQUEST_ID"))
}

// changes are the options of a change: its request id, --plan and --break-glass.
func (s *session) changes(more ...client.Option) []client.Option {
	if id := s.givenRequestID(); id != "" {
		more = append(more, client.WithRequestID(id))
	}
	if s.Bool("plan") {
		more = append(more, client.Plan())
	}
	if why := s.String("break-glass"); why != "" {
		more = append(more, client.BreakGlass(why))
	}
	return more
}

// arg is an argument by its place, "" when it was left out.
func (s *session) arg(n int) string { return s.Args().Get(n) }

// notef writes a message for people. With -o json or yaml a program reads, also
// stderr, where it expects an error or nothing.
func (s *session) notef(format string, args ...any) {
	if s.format == formatJSON || s.format == formatYAML {
		return
	}
	fmt.Fprintln(s.err, plain(fmt.Sprintf(format, args...)))
}

// interactive reports whether a person is there to be asked.
func (s *session) interactive() bool {
	f, ok := s.in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outIsTerminal reports whether stdout is read by a person.
func (s *session) outIsTerminal() bool {
	f, ok := s.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks before what cannot be undone. The person types the name, because
// "y" is typed too easily.
func (s *session) confirm(what, name string) error {
	if s.Bool("yes") || s.Bool("plan") {
		return nil
	}
	if !s.interactive() {
		return usagef("%s: add --yes to do it without being asked", what)
	}
	fmt.Fprintf(s.err, "%s. Type %q to go on: ", plain(what), plain(name))
	var typed string
	if _, err := fmt.Fscanln(s.in, &typed); err != nil || typed != name {
		return &wire.Error{Code: "not_confirmed", Message: "not confirmed: nothing was done"}
	}
	return nil
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}
}

// labels reads repeated k=v.
func labels(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, l := range list {
		k, v, found := strings.Cut(l, "=")
		if !found || k == "" {
			return nil, usagef("label %q: write it like team=release", l)
		}
		if _, twice := out[k]; twice {
			return nil, usagef("label %q stands twice", k)
		}
		out[k] = v
	}
	return out, nil
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
