package dev

import (
	"net"
	"strconv"
	"testing"
)

// TestFreeAddresses: no port is given twice, though none of them is taken yet, and none
// is one that an outgoing connection may get while its node is down.
func TestFreeAddresses(t *testing.T) {
	given, seen := map[string]bool{}, map[string]bool{}
	for range 200 {
		addrs, err := freeAddresses(5, given)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			_, port, err := net.SplitHostPort(a)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := strconv.Atoi(port); err != nil || n < firstPort || n >= firstPort+portCount {
				t.Errorf("port %s lies outside of %d to %d", port, firstPort, firstPort+portCount)
			}
			if seen[a] {
				t.Errorf("%s was given twice", a)
			}
			seen[a] = true
		}
	}
}

// TestFreeAddressesTaken: a port on which somebody listens is not free, by TCP or UDP.
func TestFreeAddressesTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, a := range []string{l.Addr().String(), u.LocalAddr().String()} {
		if isFree(a) {
			t.Errorf("%s is taken and called free", a)
		}
	}
}
