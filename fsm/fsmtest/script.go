// Package fsmtest makes log entries for tests of whatever stores, ships or replays
// the replicated state: a small cluster and as many keys as wanted, always the same
// bytes for the same arguments.
package fsmtest

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ClusterID of every script.
const ClusterID = "0123456789abcdef0123456789abcdef"

// Start is the wall time of genesis; entry n comes n seconds later.
const Start lifecycle.Instant = 1_800_000_000_000

// NodeID of the one node.
const NodeID lifecycle.NodeID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// Encode makes the entry that a proposer would have made n seconds after Start. It
// carries a RequestID, so that the table of operations is used too.
func Encode(n int, body command.Body) []byte {
	at := Start.Add(lifecycle.Milliseconds(n) * lifecycle.Second)
	ms := fmt.Sprintf("%012x", int64(at))
	c := command.Command{Body: body, Header: command.Header{
		At: at, Actor: "alice", Node: NodeID,
		RequestID:     fmt.Sprintf("%s-%s-7000-8000-%012x", ms[:8], ms[8:], n),
		RequestDigest: make([]byte, 32),
	}}
	b, err := c.Encode()
	if err != nil {
		panic(err) // a script is constant
	}
	return b
}

// Genesis is the first entry.
func Genesis() []byte { return GenesisOf(ClusterID) }

// GenesisOf is the first entry of another cluster.
func GenesisOf(clusterID string) []byte {
	return Encode(0, &command.Init{
		ClusterID: clusterID, Name: "test", Settings: lifecycle.DefaultSettings(),
		Node: command.NodeRecord{ID: NodeID, Name: "n1", Incarnation: "0123456789abcdef", CACert: []byte{0x30}, MaxFormat: command.MaxFormat,
			Addrs: lifecycle.Addrs{Node: "127.0.0.1:1", API: "127.0.0.1:2", Public: "127.0.0.1:3"}},
		Admin: command.PrincipalRecord{Name: "alice", Kind: lifecycle.Person,
			Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}},
	})
}

// KeyName is the name of key n.
func KeyName(n int) lifecycle.KeyID { return lifecycle.KeyID(fmt.Sprintf("key-%08d", n)) }

// CreateKey is the entry that makes key n, n > 0.
func CreateKey(n int) []byte {
	in := command.Intent{Node: NodeID}
	copy(in.CKAID[:], fmt.Sprintf("%016d", n))
	return Encode(n, &command.CreateKey{
		Name: KeyName(n), Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed,
		Owner: "release@example.org", Reason: "sign releases", Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256),
		Instances: []command.Intent{in},
	})
}

// Script is genesis and then keys 1 to n: entry i belongs at index i+1.
func Script(n int) [][]byte {
	out := [][]byte{Genesis()}
	for i := 1; i <= n; i++ {
		out = append(out, CreateKey(i))
	}
	return out
}
