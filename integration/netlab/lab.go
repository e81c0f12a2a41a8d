package netlab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
)

// Lab is one network. Its methods may be called from any goroutine.
type Lab struct {
	mu     sync.Mutex // owns the rest
	random *rand.Rand
	hosts  []*Host
	byAddr map[netip.Addr]*Host
	links  map[[2]*Host]Link
	seen   map[[2]*Host]int // packets that were passed on or queued

	flight  *flight
	running sync.WaitGroup
}

// Host is one namespace with one address, 10.99.0.1 for the first.
type Host struct {
	Name string
	Addr netip.Addr

	lab       *Lab
	tun       *os.File
	namespace *os.File
}

// Start makes an empty network. seed repeats the choices of its links.
func Start(seed uint64) *Lab {
	l := &Lab{random: rand.New(rand.NewPCG(seed, 0)), byAddr: map[netip.Addr]*Host{}, links: map[[2]*Host]Link{}, seen: map[[2]*Host]int{},
		flight: &flight{wake: make(chan struct{}, 1)}}
	l.running.Go(l.flight.run)
	return l
}

const maxHosts = 250

// AddHost makes a host that reaches all others.
func (l *Lab) AddHost(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.hosts) == maxHosts {
		return nil, fmt.Errorf("make host %s: a lab has at most %d", name, maxHosts)
	}
	h := &Host{Name: name, Addr: netip.AddrFrom4([4]byte{10, 99, 0, byte(len(l.hosts) + 1)}), lab: l}
	if err := h.open(); err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	l.hosts = append(l.hosts, h)
	l.byAddr[h.Addr] = h
	l.running.Go(h.pump)
	return h, nil
}

// Close takes the network away. Processes in it lose every connection.
func (l *Lab) Close() error {
	l.flight.close()
	l.mu.Lock()
	hosts := l.hosts
	l.mu.Unlock()
	var first error
	for _, h := range hosts {
		for _, f := range []*os.File{h.tun, h.namespace} {
			if err := f.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	l.running.Wait()
	return first
}

// Set changes one direction.
func (l *Lab) Set(from, to *Host, link Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links[[2]*Host{from, to}] = link
}

// Both changes both directions.
func (l *Lab) Both(a, b *Host, link Link) {
	l.Set(a, b, link)
	l.Set(b, a, link)
}

// Apart cuts each host of one side from each of the other, both ways.
func (l *Lab) Apart(one, other []*Host) {
	for _, a := range one {
		for _, b := range other {
			l.Both(a, b, Link{Cut: true})
		}
	}
}

// Heal makes all links whole and prompt. Packets that are delayed still arrive.
func (l *Lab) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.links)
}

// Passed is how many packets went from one host to another so far.
func (l *Lab) Passed(from, to *Host) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[[2]*Host{from, to}]
}

// pump reads what a host sends until the lab is closed.
func (h *Host) pump() {
	buf := make([]byte, 1<<16)
	for {
		n, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		if n < 20 || buf[0]>>4 != 4 {
			continue // the lab speaks IPv4 only
		}
		h.lab.route(h, netip.AddrFrom4([4]byte(buf[16:20])), buf[:n])
	}
}

// route decides what becomes of a packet. bytes is the pump's buffer.
func (l *Lab) route(from *Host, dst netip.Addr, bytes []byte) {
	l.mu.Lock()
	to := l.byAddr[dst]
	if to == nil {
		l.mu.Unlock()
		return
	}
	way := [2]*Host{from, to}
	arrivals := l.links[way].fate(l.random)
	if len(arrivals) > 0 {
		l.seen[way]++
	}
	l.mu.Unlock()
	for _, after := range arrivals {
		if after == 0 {
			to.deliver(bytes)
			continue
		}
		l.flight.put(to, append([]byte(nil), bytes...), after)
	}
}

// deliver hands a packet to the host's kernel, which drops what it has no room for,
// as any network does.
func (h *Host) deliver(bytes []byte) {
	_, _ = h.tun.Write(bytes) // a packet that is lost is what a network is allowed to do
}
