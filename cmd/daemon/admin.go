package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// The admin socket is for whoever stands at the machine: root, or the user the node
// runs as. It lies in the data directory, which nobody else can enter; the kernel
// says who has connected. There is no other credential and nothing it offers needs a
// quorum.

const (
	adminPathSeal  = "/v1/seal"
	maxAdminBytes  = 8 << 10
	socketMode     = fs.FileMode(0o600)
	maxSocketBytes = 107 // of a path in sockaddr_un
)

// visitor is a process that has connected to the admin socket.
type visitor struct {
	uid uint32
	pid int32
}

func (v visitor) String() string { return fmt.Sprintf("uid %d (pid %d)", v.uid, v.pid) }

// allowed lets root and the node's own user in.
func (v visitor) allowed() bool { return v.uid == 0 || int(v.uid) == os.Geteuid() }

type visitorKey struct{}

// startAdmin answers on the admin socket.
func (d *Daemon) startAdmin() error {
	l, err := listenAdmin(d.place.dir.AdminSocket())
	if err != nil {
		return fmt.Errorf("listen for whoever stands at this machine: %w", err)
	}
	d.admin = &http.Server{Handler: d.adminHandler(), ConnContext: withVisitor, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	d.serve("the admin socket", func() error { return d.admin.Serve(l) })
	return nil
}

// listenAdmin takes the place of a socket that a killed process left behind: the
// lock on the data directory says that it is dead.
func listenAdmin(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the short name is gone by then; the next start removes it
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// shortPath is a name of the socket that fits an address, as long as done is not
// called.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketBytes {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)), func() { _ = dir.Close() }, nil // it was only held open
}

func withVisitor(ctx context.Context, c net.Conn) context.Context {
	if v, err := visitorOf(c); err == nil {
		return context.WithValue(ctx, visitorKey{}, v)
	}
	return ctx
}

func (d *Daemon) adminHandler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST "+adminPathSeal, func(w http.ResponseWriter, r *http.Request) {
		v, ok := r.Context().Value(visitorKey{}).(visitor)
		if !ok || !v.allowed() {
			transport.WriteError(w, wire.Errorf(wire.Denied, "only root and the user this node runs as may seal it").WithHint("sudo chancery seal --local"))
			return
		}
		var req SealRequest
		if err := wire.Decode(http.MaxBytesReader(w, r.Body, maxAdminBytes), maxAdminBytes, &req); err != nil {
			transport.WriteError(w, transport.Failure(err))
			return
		}
		answer, err := d.sealHere(req, v.String())
		if err != nil {
			transport.WriteError(w, transport.Failure(err))
			return
		}
		transport.JSON(w.Header())
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			d.log.Debug("answer on the admin socket", "err", err)
		}
	})
	return m
}

// AdminSocket is where a node of this configuration listens for its own machine.
func AdminSocket(c Config) string { return disk.AdminSocket(c.DataDir) }

// SealLocally asks the node that listens on the socket to stop signing. When it
// returns without an error, nothing of what was sealed passes that node's gate.
func SealLocally(ctx context.Context, socket string, req SealRequest) (*SealAnswer, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the order: %w", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, done, err := shortPath(socket)
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", short)
	}
	c := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+adminPathSeal, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", wire.TypeJSON)
	resp, err := c.Do(r)
	if errors.Is(err, fs.ErrPermission) {
		return nil, wire.Errorf(wire.Denied, "the socket %s is for root and the user the node runs as", socket).WithHint("sudo chancery seal --local")
	}
	if err != nil {
		return nil, wire.Errorf(wire.NotAvailable, "no node answers on %s: a node that does not run signs nothing (%v)", socket, err).
			WithHint("give the running node's --config or --socket")
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end
	if resp.StatusCode != http.StatusOK {
		e := new(wire.Error)
		if err := wire.Decode(resp.Body, wire.MaxAdminBytes, e); err != nil {
			return nil, fmt.Errorf("read the node's answer, of status %d: %w", resp.StatusCode, err)
		}
		return nil, e
	}
	answer := new(SealAnswer)
	if err := wire.Decode(resp.Body, wire.MaxAdminBytes, answer); err != nil {
		return nil, fmt.Errorf("read the node's answer: %w", err)
	}
	return answer, nil
}
