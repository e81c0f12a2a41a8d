package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// ServerOptions bound one listener. Zero values take the defaults.
type ServerOptions struct {
	TLS            *tls.Config // nil = plain HTTP
	Logger         *slog.Logger
	MaxConnections int           // 0 = DefaultConnections
	HeaderTimeout  time.Duration // 0 = wire.HeaderTimeout
	BodyTimeout    time.Duration // 0 = wire.BodyTimeout
	IdleTimeout    time.Duration // 0 = wire.IdleTimeout
	Grace          time.Duration // for requests in flight when it ends; 0 = 10 s
	OnShutdown     func()        // called once when it begins to end: let go of held requests
}

// DefaultConnections is the most connections one listener holds.
const DefaultConnections = 10_000

// writeTimeout ends an answer that nobody reads. Held requests and streams move it
// themselves.
const writeTimeout = wire.MaxHold + 15*time.Second

// Serve answers on the listener until ctx ends, then lets requests in flight finish
// within the grace. It returns nil after an orderly end.
func Serve(ctx context.Context, l net.Listener, h http.Handler, o ServerOptions) error {
	srv, l := newServer(l, h, o)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace := o.Grace
	if grace == 0 {
		grace = 10 * time.Second
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = srv.Close() // whoever is left after the grace is cut off
	}
	if served := <-done; served != nil && !errors.Is(served, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), served)
	}
	return err
}

func newServer(l net.Listener, h http.Handler, o ServerOptions) (*http.Server, net.Listener) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	most := o.MaxConnections
	if most == 0 {
		most = DefaultConnections
	}
	conns := newConnections(most)
	srv := &http.Server{
		Handler:           boundBodies(h, orDefault(o.BodyTimeout, wire.BodyTimeout)),
		ReadHeaderTimeout: orDefault(o.HeaderTimeout, wire.HeaderTimeout),
		IdleTimeout:       orDefault(o.IdleTimeout, wire.IdleTimeout),
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    wire.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		ConnState:         conns.state,
		ConnContext:       withConn,
	}
	if o.OnShutdown != nil {
		srv.RegisterOnShutdown(o.OnShutdown)
	}
	if o.TLS == nil {
		return srv, l
	}
	c := o.TLS.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = []string{"h2", "http/1.1"}
	srv.TLSConfig = c
	return srv, tls.NewListener(l, c)
}

// boundBodies gives every body a time to arrive in, also one that nobody reads: net/http
// reads the rest of it before it answers. A handler that holds a request lifts the bound
// once it has the body.
func boundBodies(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // -1 = it is not said
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)); err != nil {
				WriteError(w, wire.Errorf(wire.Internal, "the time for the body cannot be bounded"))
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// CheckHeader refuses headers past the limit that net/http let through: it reads
// 4 KiB more than MaxHeaderBytes says.
func CheckHeader(r *http.Request) error {
	n := len(r.Method) + len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	if n > wire.MaxHeaderBytes {
		return wire.Errorf(wire.HeaderTooLarge, "the request line and headers have %d bytes: at most %d are read", n, wire.MaxHeaderBytes)
	}
	return nil
}
