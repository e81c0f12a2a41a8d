package daemon

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// visitorOf asks the kernel who is at the other end, as it was when it connected.
func visitorOf(c net.Conn) (visitor, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return visitor{}, errors.New("no Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return visitor{}, fmt.Errorf("ask who connects: %w", err)
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return visitor{}, fmt.Errorf("ask who connects: %w", err)
	}
	if failed != nil {
		return visitor{}, fmt.Errorf("ask who connects: %w", failed)
	}
	return visitor{uid: cred.Uid, pid: cred.Pid}, nil
}
