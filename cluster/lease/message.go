package lease

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Lengths of the hexadecimal fields, in characters.
const (
	clusterChars = 32 // 128 random bits
	nodeChars    = 64 // SHA-256 of the identity key's SPKI
	nonceChars   = 32 // 128 random bits
	bootChars    = 32 // 128 random bits
)

// Request asks for a lease.
type Request struct {
	Cluster string           `json:"cluster"`
	Epoch   uint64           `json:"epoch"`
	Node    lifecycle.NodeID `json:"node"` // must be the sender
	Boot    string           `json:"boot_id"`
	Seq     uint64           `json:"seq"` // 1, 2, ... of this process
	Nonce   string           `json:"nonce"`
	Applied uint64           `json:"applied_index"` // the index that the node's FSM has published
	LogSize uint64           `json:"log_size"`
	Root    []byte           `json:"root"`         // of the lifecycle log at Applied, SHA-256
	Digest  []byte           `json:"digest"`       // of the state at Applied, SHA-256
	Fenced  uint64           `json:"fenced_index"` // no gate of the node is open to a state before it
	HSMOK   bool             `json:"hsm_ok"`
	Clock   Reading          `json:"clock"` // of the node when it asked
}

// Grant answers a Request. The lease ends Duration after the node's reading before
// it asked, and is usable once the node has applied MinIndex.
type Grant struct {
	Cluster  string           `json:"cluster"`
	Epoch    uint64           `json:"epoch"`
	Node     lifecycle.NodeID `json:"node"`
	Boot     string           `json:"boot_id"`
	Seq      uint64           `json:"seq"`
	Nonce    string           `json:"nonce"`
	Term     uint64           `json:"term"`
	Leader   lifecycle.NodeID `json:"leader"` // must be the sender
	MinIndex uint64           `json:"min_index"`
	Duration time.Duration    `json:"duration_ns"`
	Clock    Reading          `json:"clock"` // of the leader between question and answer
}

// FenceRequest asks a node to apply Index and to empty its release gate of
// everything admitted before.
type FenceRequest struct {
	Cluster string           `json:"cluster"`
	Epoch   uint64           `json:"epoch"`
	Nonce   string           `json:"nonce"`
	Index   uint64           `json:"index"`
	Term    uint64           `json:"term"`
	Leader  lifecycle.NodeID `json:"leader"` // must be the sender
}

// FenceAck answers it. Fenced may be another index than was asked for: it is the
// highest one that the node vouches for.
type FenceAck struct {
	Cluster string           `json:"cluster"`
	Epoch   uint64           `json:"epoch"`
	Nonce   string           `json:"nonce"`
	Node    lifecycle.NodeID `json:"node"` // must be the sender
	Boot    string           `json:"boot_id"`
	Fenced  uint64           `json:"fenced_index"`
}

// Check refuses a request that no correct node sends.
func (r *Request) Check() error {
	return errors.Join(
		lowerHex("cluster", r.Cluster, clusterChars), positive("epoch", r.Epoch),
		lowerHex("node", string(r.Node), nodeChars), lowerHex("boot_id", r.Boot, bootChars),
		positive("seq", r.Seq), lowerHex("nonce", r.Nonce, nonceChars),
		digest("root", r.Root), digest("digest", r.Digest), r.Clock.check())
}

// Check refuses a grant that no correct leader sends.
func (g *Grant) Check() error {
	err := errors.Join(
		lowerHex("cluster", g.Cluster, clusterChars), positive("epoch", g.Epoch),
		lowerHex("node", string(g.Node), nodeChars), lowerHex("boot_id", g.Boot, bootChars),
		positive("seq", g.Seq), lowerHex("nonce", g.Nonce, nonceChars),
		positive("term", g.Term), lowerHex("leader", string(g.Leader), nodeChars),
		positive("min_index", g.MinIndex), g.Clock.check())
	if g.Duration < MinDuration || g.Duration > MaxDuration {
		err = errors.Join(err, fmt.Errorf("duration_ns of %v: it must be from %v to %v", g.Duration, MinDuration, MaxDuration))
	}
	return err
}

// Check refuses a request that no correct leader sends.
func (r *FenceRequest) Check() error {
	return errors.Join(
		lowerHex("cluster", r.Cluster, clusterChars), positive("epoch", r.Epoch),
		lowerHex("nonce", r.Nonce, nonceChars), positive("index", r.Index), positive("term", r.Term),
		lowerHex("leader", string(r.Leader), nodeChars))
}

// Check refuses an acknowledgement that no correct node sends.
func (a *FenceAck) Check() error {
	return errors.Join(
		lowerHex("cluster", a.Cluster, clusterChars), positive("epoch", a.Epoch),
		lowerHex("nonce", a.Nonce, nonceChars), lowerHex("node", string(a.Node), nodeChars),
		lowerHex("boot_id", a.Boot, bootChars))
}

func (r Reading) check() error {
	if r.Raw < 0 || r.Boot < 0 || r.Raw > maxReading || r.Boot > maxReading {
		return fmt.Errorf("clock: %d ns and %d ns: a reading is from 0 to 2^62 ns", r.Raw, r.Boot)
	}
	return nil
}

func positive(field string, n uint64) error {
	if n == 0 {
		return fmt.Errorf("%s is 0", field)
	}
	return nil
}

// digest allows for none: a node that has applied nothing has nothing to digest.
func digest(field string, b []byte) error {
	if len(b) != 0 && len(b) != sha256.Size {
		return fmt.Errorf("%s has %d bytes, not %d", field, len(b), sha256.Size)
	}
	return nil
}

func lowerHex(field, s string, chars int) error {
	if len(s) != chars {
		return fmt.Errorf("%s has %d characters, not %d", field, len(s), chars)
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%s is not lower-case hexadecimal", field)
		}
	}
	return nil
}

// random is 128 bits nobody can guess, which both nonces and boot ids are.
func random() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}
