package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func capture(level slog.Level) (hclog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return NewHCLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), &out
}

func TestHCLogRecords(t *testing.T) {
	cases := map[string]struct {
		log  func(hclog.Logger)
		want string
	}{
		"plain":       {func(l hclog.Logger) { l.Info("entering follower state", "leader", "n1") }, `level=INFO msg="entering follower state" leader=n1`},
		"format":      {func(l hclog.Logger) { l.Error("bad", "command", hclog.Fmt("%T %d", "", 7)) }, `level=ERROR msg=bad command="string 7"`},
		"empty fmt":   {func(l hclog.Logger) { l.Warn("x", "k", hclog.Format{}) }, `level=WARN msg=x k=""`},
		"odd fmt":     {func(l hclog.Logger) { l.Warn("x", "k", hclog.Format{7, 8}) }, `level=WARN msg=x k="7 8"`},
		"error":       {func(l hclog.Logger) { l.Warn("x", "error", errors.New("disk full")) }, `level=WARN msg=x err="disk full"`},
		"missing key": {func(l hclog.Logger) { l.Info("x", "a", 1, "lone") }, `level=INFO msg=x a=1 EXTRA_VALUE_AT_END=lone`},
		"key no text": {func(l hclog.Logger) { l.Info("x", 5, 6) }, `level=INFO msg=x 5=6`},
		"hex":         {func(l hclog.Logger) { l.Info("x", "a", hclog.Hex(255), "b", hclog.Octal(8), "c", hclog.Binary(5)) }, `level=INFO msg=x a=0xff b=010 c=0b101`},
		"with":        {func(l hclog.Logger) { l.With("node", "n1", "e", hclog.Fmt("%d", 1)).Info("x", "b", 2) }, `level=INFO msg=x node=n1 e=1 b=2`},
		"named":       {func(l hclog.Logger) { l.Named("raft").Named("net").Info("x") }, `level=INFO msg=x logger=raft.net`},
		"reset":       {func(l hclog.Logger) { l.Named("raft").With("a", 1).ResetNamed("b").Info("x") }, `level=INFO msg=x a=1 logger=b`},
		"no level":    {func(l hclog.Logger) { l.Log(hclog.NoLevel, "x") }, `level=INFO msg=x`},
		"debug":       {func(l hclog.Logger) { l.Debug("x") }, ``},
		"trace":       {func(l hclog.Logger) { l.Trace("x") }, ``},
		"off":         {func(l hclog.Logger) { l.Log(hclog.Off, "x") }, ``},
		"std":         {func(l hclog.Logger) { l.StandardLogger(nil).Print("[WARN] x") }, `level=INFO msg="[WARN] x"`},
		"std infer": {func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}).Print("[ERR]  x y")
		}, `level=ERROR msg="x y"`},
		"std force": {func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}).Print("[DEBUG] x")
		}, `level=WARN msg=x`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, out := capture(slog.LevelInfo)
			c.log(l)
			if got := strings.TrimSpace(out.String()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestHCLogLevels(t *testing.T) {
	for level, want := range map[slog.Level]hclog.Level{levelTrace: hclog.Trace, slog.LevelDebug: hclog.Debug, slog.LevelInfo: hclog.Info, slog.LevelWarn: hclog.Warn, slog.LevelError: hclog.Error, slog.LevelError + 1: hclog.Off} {
		l, out := capture(level)
		l.SetLevel(hclog.Trace) // the handler decides
		if l.GetLevel() != want {
			t.Errorf("handler at %s: GetLevel = %s, want %s", level, l.GetLevel(), want)
		}
		if l.IsTrace() != (want == hclog.Trace) || l.IsError() != (want != hclog.Off) {
			t.Errorf("handler at %s: IsTrace %v, IsError %v", level, l.IsTrace(), l.IsError())
		}
		l.Trace("x")
		if (out.Len() > 0) != (want == hclog.Trace) {
			t.Errorf("handler at %s wrote %q", level, out)
		}
	}
	l, _ := capture(slog.LevelInfo)
	if l = l.Named("a").With("k", 1); l.Name() != "a" || len(l.ImpliedArgs()) != 2 {
		t.Errorf("name %q, implied %v", l.Name(), l.ImpliedArgs())
	}
}
