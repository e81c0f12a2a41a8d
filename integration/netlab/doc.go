// Package netlab is a network to break: hosts, each in a network namespace of its
// own, joined by a router in this process that delays, loses, repeats, reorders or
// cuts what one host sends to another, each direction for itself.
//
// Both ends are the kernel's own TCP and UDP over a TUN device, so connections,
// retransmissions and timeouts are real. Namespaces and devices have no names outside
// of this process: when it ends, in whatever way, they are gone.
//
// It needs Linux, root and /dev/net/tun.
package netlab
