package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Gossip tells where nodes are and whether they seem to be up. It is one shared
// secret: whoever holds the key can say anything, so what it says is only ever a
// hint. It never changes membership and carries no authority; an address heard
// here is believed only after the node's own key has answered there.
//
// What memberlist hands out are its own live records, which it goes on writing to. So
// nothing is read from its list: heard is a copy that its events keep up to date.
type Gossip struct {
	list *memberlist.Memberlist
	ring *memberlist.Keyring
	meta []byte

	mu    sync.Mutex
	heard map[lifecycle.NodeID]string // who seems to be up, and its node port; guarded by mu
}

// GossipConfig of a Gossip.
type GossipConfig struct {
	ID        lifecycle.NodeID
	Cluster   string // label: packets of other clusters are dropped
	Bind      string // host:port, TCP and UDP
	Advertise string // host:port
	Node      string // advertised address of the node port
	Keys      [][]byte
	Logger    *slog.Logger
}

// gossipMeta is what a node says of itself, at most 512 bytes.
type gossipMeta struct {
	Node string `json:"node"`
}

// StartGossip joins in; peers are found by Join.
func StartGossip(c GossipConfig) (*Gossip, error) {
	if len(c.Keys) == 0 {
		return nil, errors.New("start gossip: no key")
	}
	ring, err := memberlist.NewKeyring(c.Keys, c.Keys[0])
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	meta, err := json.Marshal(gossipMeta{Node: c.Node})
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	g := &Gossip{ring: ring, meta: meta, heard: map[lifecycle.NodeID]string{}}
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Label, conf.Keyring, conf.Delegate, conf.Events = string(c.ID), c.Cluster, ring, g, g
	if conf.BindAddr, conf.BindPort, err = hostPort(c.Bind); err != nil {
		return nil, err
	}
	if conf.AdvertiseAddr, conf.AdvertisePort, err = resolveHost(c.Advertise); err != nil {
		return nil, err
	}
	conf.LogOutput = io.Discard
	if c.Logger != nil {
		conf.Logger, conf.LogOutput = slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug), nil
	}
	if g.list, err = memberlist.Create(conf); err != nil {
		return nil, fmt.Errorf("start gossip on %s: %w", c.Bind, err)
	}
	return g, nil
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", 0, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, n, nil
}

// resolveHost turns a name into an address, because gossip advertises addresses only.
func resolveHost(addr string) (string, int, error) {
	host, port, err := hostPort(addr)
	if err != nil {
		return "", 0, err
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", 0, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	return ip.String(), port, nil
}

// Join contacts gossip addresses of other nodes; one that answers is enough.
func (g *Gossip) Join(addrs []string) error {
	if len(addrs) == 0 {
		return nil
	}
	if _, err := g.list.Join(addrs); err != nil {
		return fmt.Errorf("join gossip: %w", err)
	}
	return nil
}

// Hint is where a node says its node port is, "" when it is not heard.
func (g *Gossip) Hint(id lifecycle.NodeID) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heard[id]
}

// Alive lists the nodes that gossip believes are up, in order of their ids.
func (g *Gossip) Alive() []lifecycle.NodeID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.heard))
}

// Use makes the ring hold exactly these keys: the first is sent with, all of them are
// understood.
func (g *Gossip) Use(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("use gossip keys: there is none")
	}
	for _, key := range keys {
		if err := g.ring.AddKey(key); err != nil {
			return fmt.Errorf("add a gossip key: %w", err)
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use a gossip key: %w", err)
	}
	// From the end, because memberlist moves what follows a key that it removes, in a
	// list that others may be reading.
	for _, key := range slices.Backward(slices.Clone(g.ring.GetKeys())) {
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			continue
		}
		if err := g.ring.RemoveKey(key); err != nil {
			return fmt.Errorf("remove a gossip key: %w", err)
		}
	}
	return nil
}

// Close leaves and stops.
func (g *Gossip) Close() error {
	_ = g.list.Leave(200 * time.Millisecond) // a courtesy: the others notice by themselves
	return g.list.Shutdown()
}

// memberlist.EventDelegate: called while memberlist holds its own lock.

func (g *Gossip) NotifyJoin(n *memberlist.Node) {
	var meta gossipMeta
	if json.Unmarshal(n.Meta, &meta) != nil {
		meta.Node = "" // it is up, and where it is stays unknown
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard[lifecycle.NodeID(n.Name)] = meta.Node
}

func (g *Gossip) NotifyUpdate(n *memberlist.Node) { g.NotifyJoin(n) }

func (g *Gossip) NotifyLeave(n *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.heard, lifecycle.NodeID(n.Name))
}

// memberlist.Delegate: only the meta data is used.

func (g *Gossip) NodeMeta(int) []byte             { return g.meta }
func (g *Gossip) NotifyMsg([]byte)                {}
func (g *Gossip) GetBroadcasts(int, int) [][]byte { return nil }
func (g *Gossip) LocalState(bool) []byte          { return nil }
func (g *Gossip) MergeRemoteState([]byte, bool)   {}
