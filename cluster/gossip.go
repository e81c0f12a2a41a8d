package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Gossip tells where nodes are and whether they seem to be up. It is one shared
// secret: whoever holds the key can say anything, so what it says is only ever a
// hint. It never changes membership and carries no authority; an address heard
// here is believed only after the node's own key has answered there.
type Gossip struct {
	list *memberlist.Memberlist
	ring *memberlist.Keyring
	meta []byte
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
	g := &Gossip{ring: ring, meta: meta}
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Label, conf.Keyring, conf.Delegate = string(c.ID), c.Cluster, ring, g
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
	for _, m := range g.list.Members() {
		if m.Name != string(id) {
			continue
		}
		var meta gossipMeta
		if json.Unmarshal(m.Meta, &meta) != nil {
			return ""
		}
		return meta.Node
	}
	return ""
}

// Alive lists the nodes that gossip believes are up.
func (g *Gossip) Alive() (ids []lifecycle.NodeID) {
	for _, m := range g.list.Members() {
		ids = append(ids, lifecycle.NodeID(m.Name))
	}
	return ids
}

// Rotate installs a key and makes it the one that is sent with; older keys are
// still understood until Retire.
func (g *Gossip) Rotate(key []byte) error {
	if err := g.ring.AddKey(key); err != nil {
		return fmt.Errorf("add a gossip key: %w", err)
	}
	if err := g.ring.UseKey(key); err != nil {
		return fmt.Errorf("use a gossip key: %w", err)
	}
	return nil
}

// Close leaves and stops.
func (g *Gossip) Close() error {
	_ = g.list.Leave(200 * time.Millisecond) // a courtesy: the others notice by themselves
	return g.list.Shutdown()
}

// memberlist.Delegate: only the meta data is used.

func (g *Gossip) NodeMeta(int) []byte             { return g.meta }
func (g *Gossip) NotifyMsg([]byte)                {}
func (g *Gossip) GetBroadcasts(int, int) [][]byte { return nil }
func (g *Gossip) LocalState(bool) []byte          { return nil }
func (g *Gossip) MergeRemoteState([]byte, bool)   {}
