package netlab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	device = "lab0"
	tunDev = "/dev/net/tun"
)

// Check says what is missing here, nil = hosts can be made.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := os.Stat(tunDev); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: load the kernel module tun (modprobe tun), or give the container that device", tunDev)
	}
	return nil
}

// apart runs f on a thread of its own, which ends with it: what f does to its thread
// happens to no other goroutine.
func apart(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// open makes the namespace, its device and its address.
func (h *Host) open() error {
	return apart(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if h.tun, err = openTUN(); err != nil {
			return errors.Join(err, h.namespace.Close())
		}
		if err = h.address(); err != nil {
			return errors.Join(err, h.tun.Close(), h.namespace.Close())
		}
		return nil
	})
}

func openTUN() (*os.File, error) {
	fd, err := unix.Open(tunDev, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunDev, err)
	}
	req, err := unix.NewIfreq(device)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// address sets the host's address and switches its devices on.
func (h *Host) address() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	addr := h.Addr.As4()
	for _, step := range []struct {
		device string
		ioctl  uint
		set    func(*unix.Ifreq) error
	}{
		{device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr[:]) }},
		{device, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{device, unix.SIOCSIFFLAGS, up},
		{"lo", unix.SIOCSIFFLAGS, up},
	} {
		req, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.set(req)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, step.ioctl, req)
		}
		if err != nil {
			return fmt.Errorf("configure %s of %s: %w", step.device, h.Name, err)
		}
	}
	return nil
}

func up(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }

// Do runs f on a thread that is inside the host. Sockets that f makes belong to the
// host for good, and so do processes that it starts.
func (h *Host) Do(f func() error) error {
	return apart(func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter host %s: %w", h.Name, err)
		}
		return f()
	})
}

// Start starts a command as a process of the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Run starts a command on the host and waits for its end.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Dial connects from the host, to an address and not to a name.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: 3 * time.Second}
	return conn, h.Do(func() (err error) { conn, err = d.DialContext(ctx, network, addr); return err })
}

// Listen listens on the host.
func (h *Host) Listen(network, addr string) (l net.Listener, err error) {
	return l, h.Do(func() (err error) { l, err = net.Listen(network, addr); return err })
}
