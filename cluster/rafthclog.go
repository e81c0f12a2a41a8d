package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// NewHCLog gives hashicorp libraries an hclog.Logger that writes to handler. Names
// become the attribute "logger"; hclog's trace level is slog's debug minus four.
// Levels are the handler's business, so SetLevel does nothing.
func NewHCLog(handler slog.Handler) hclog.Logger { return &hcLogger{handler: handler} }

// raftLogger is NewHCLog for a logger; nil means silence.
func raftLogger(l *slog.Logger) hclog.Logger {
	if l == nil {
		return hclog.NewNullLogger()
	}
	return NewHCLog(l.Handler())
}

type hcLogger struct {
	handler slog.Handler // with the implied arguments
	name    string
	implied []any
}

const levelTrace = slog.LevelDebug - 4

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return levelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Log implements hclog.Logger.
func (l *hcLogger) Log(level hclog.Level, msg string, args ...any) {
	ctx := context.Background()
	if level == hclog.Off || !l.handler.Enabled(ctx, slogLevel(level)) {
		return // before the arguments are formatted: debug calls are frequent
	}
	logger := slog.New(l.handler)
	if l.name != "" {
		logger = logger.With("logger", l.name)
	}
	logger.Log(ctx, slogLevel(level), msg, plainArgs(args)...)
}

// plainArgs turns hclog's argument forms into slog's. A value without a key gets
// the key that hclog gives it.
func plainArgs(args []any) []any {
	if len(args)%2 == 1 {
		last := len(args) - 1
		args = append(append(make([]any, 0, len(args)+1), args[:last]...), hclog.MissingKey, args[last])
	}
	out := make([]any, 0, len(args))
	for i := 0; i < len(args); i += 2 {
		key, ok := args[i].(string)
		if !ok {
			key = fmt.Sprint(args[i])
		}
		// Our one name for errors; hashicorp says "error".
		if key == "error" {
			key = "err"
		}
		out = append(out, key, plainValue(args[i+1]))
	}
	return out
}

func plainValue(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return fmt.Sprint(v...)
		}
		return fmt.Sprintf(format, v[1:]...)
	case hclog.Hex:
		return fmt.Sprintf("0x%x", int(v))
	case hclog.Octal:
		return fmt.Sprintf("0%o", int(v))
	case hclog.Binary:
		return fmt.Sprintf("0b%b", int(v))
	case hclog.Quote:
		return string(v) // the handler quotes
	case error:
		return v.Error()
	}
	return v
}

func (l *hcLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *hcLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *hcLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *hcLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hcLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *hcLogger) enabled(level hclog.Level) bool {
	return l.handler.Enabled(context.Background(), slogLevel(level))
}

func (l *hcLogger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *hcLogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *hcLogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *hcLogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *hcLogger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs returns what With has added, in hclog's form.
func (l *hcLogger) ImpliedArgs() []any { return l.implied }

// With adds arguments to every record.
func (l *hcLogger) With(args ...any) hclog.Logger {
	if len(args) == 0 {
		return l
	}
	return &hcLogger{
		handler: slog.New(l.handler).With(plainArgs(args)...).Handler(),
		name:    l.name,
		implied: append(append(make([]any, 0, len(l.implied)+len(args)), l.implied...), args...),
	}
}

// Name is the dotted name.
func (l *hcLogger) Name() string { return l.name }

// Named appends to the name.
func (l *hcLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed replaces the name.
func (l *hcLogger) ResetNamed(name string) hclog.Logger {
	return &hcLogger{handler: l.handler, name: name, implied: l.implied}
}

// SetLevel does nothing: the handler decides.
func (l *hcLogger) SetLevel(hclog.Level) {}

// GetLevel is the lowest level that the handler takes.
func (l *hcLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger is for libraries that know only package log.
func (l *hcLogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter logs each write as one record; a prefix such as [WARN] sets the
// level when the options ask for that, else it is info.
func (l *hcLogger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	w := &standardWriter{logger: l}
	if opts != nil {
		w.infer, w.force = opts.InferLevels, opts.ForceLevel
	}
	return w
}

type standardWriter struct {
	logger *hcLogger
	infer  bool
	force  hclog.Level
}

var standardPrefixes = map[string]hclog.Level{
	"[TRACE]": hclog.Trace, "[DEBUG]": hclog.Debug, "[INFO]": hclog.Info,
	"[WARN]": hclog.Warn, "[ERROR]": hclog.Error, "[ERR]": hclog.Error,
}

func (w *standardWriter) Write(p []byte) (int, error) {
	text, level := strings.TrimSpace(string(p)), hclog.Info
	if prefix, rest, ok := strings.Cut(text, " "); ok && (w.infer || w.force != hclog.NoLevel) {
		if found, known := standardPrefixes[prefix]; known {
			text, level = strings.TrimSpace(rest), found
		}
	}
	if w.force != hclog.NoLevel {
		level = w.force
	}
	w.logger.Log(level, text)
	return len(p), nil
}
