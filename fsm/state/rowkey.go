package state

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Row keys sort the way they are read: versions of a key by number, instances of
// a version by node. Names hold no byte below '-', so NUL ends them safely. Keys of
// hot rows travel in commands as text, so they are UTF-8: a version's number stands
// in them as hex digits. The log's own rows are numbered in binary.

func number(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return string(b[:])
}

func parseNumber(s string) uint64 {
	if len(s) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(s))
}

// hexNumber is wide enough for every number, so that text sorts like numbers.
func hexNumber(n uint64) string {
	const zeros = "0000000000000000"
	s := strconv.FormatUint(n, 16)
	return zeros[len(s):] + s
}

func versionKey(k lifecycle.KeyID, n uint64) string { return string(k) + "\x00" + hexNumber(n) }

func instancePrefix(k lifecycle.KeyID, n uint64) string { return versionKey(k, n) + "\x00" }

func instanceKey(k lifecycle.KeyID, n uint64, node lifecycle.NodeID) string {
	return string(k) + "\x00" + hexNumber(n) + "\x00" + string(node)
}

func operationKey(actor, id string) string { return id + "\x00" + actor }

const clusterKey = "cluster"

// KIDRow points from a kid to its instance.
type KIDRow struct {
	Rev     uint64           `cbor:"1,keyasint"`
	Key     lifecycle.KeyID  `cbor:"2,keyasint"`
	Version uint64           `cbor:"3,keyasint"`
	Node    lifecycle.NodeID `cbor:"4,keyasint"`
}

// NameRow points from a hash to a principal's name or a token's id, or from a key to a
// consumer's name.
type NameRow struct {
	Rev  uint64 `cbor:"1,keyasint"`
	Name string `cbor:"2,keyasint"`
}

// newRow makes an empty row of the table, for decoding.
func newRow(t Table) any {
	switch t {
	case TableCluster:
		return new(lifecycle.Cluster)
	case TableNodes:
		return new(lifecycle.Node)
	case TableKeys:
		return new(lifecycle.Key)
	case TableVersions:
		return new(lifecycle.Version)
	case TableInstances:
		return new(lifecycle.Instance)
	case TableKIDs:
		return new(KIDRow)
	case TablePrincipals:
		return new(lifecycle.Principal)
	case TableCerts, TableSecrets, TableDependents:
		return new(NameRow)
	case TableTokens:
		return new(lifecycle.Token)
	case TableJoinTokens:
		return new(lifecycle.JoinToken)
	case TableFences:
		return new(lifecycle.Fence)
	case TableProposals:
		return new(lifecycle.Proposal)
	case TableConsumers:
		return new(lifecycle.Consumer)
	case TableConfirmations:
		return new(lifecycle.Confirmation)
	case TableDeliveries:
		return new(lifecycle.Delivery)
	case TableIssuers:
		return new(lifecycle.Issuer)
	case TableCACerts:
		return new(lifecycle.CACert)
	case TableProfiles:
		return new(lifecycle.Profile)
	case TableCRLs:
		return new(lifecycle.CRLState)
	case TableResponders:
		return new(lifecycle.Responder)
	case TableTallies:
		return new(lifecycle.CertTally)
	case TableSigned:
		return new(lifecycle.Tally)
	case TableLedgers:
		return new(lifecycle.LedgerHead)
	case TableOperations:
		return new(Operation)
	}
	return nil
}

// revision is the place of a row's revision: the index of the entry that wrote it.
func revision(row any) *uint64 {
	switch r := row.(type) {
	case *lifecycle.Cluster:
		return &r.Rev
	case *lifecycle.Node:
		return &r.Rev
	case *lifecycle.Key:
		return &r.Rev
	case *lifecycle.Version:
		return &r.Rev
	case *lifecycle.Instance:
		return &r.Rev
	case *KIDRow:
		return &r.Rev
	case *lifecycle.Principal:
		return &r.Rev
	case *NameRow:
		return &r.Rev
	case *lifecycle.Token:
		return &r.Rev
	case *lifecycle.JoinToken:
		return &r.Rev
	case *lifecycle.Fence:
		return &r.Rev
	case *lifecycle.Proposal:
		return &r.Rev
	case *lifecycle.Consumer:
		return &r.Rev
	case *lifecycle.Confirmation:
		return &r.Rev
	case *lifecycle.Delivery:
		return &r.Rev
	case *lifecycle.Issuer:
		return &r.Rev
	case *lifecycle.CACert:
		return &r.Rev
	case *lifecycle.Profile:
		return &r.Rev
	case *lifecycle.CRLState:
		return &r.Rev
	case *lifecycle.Responder:
		return &r.Rev
	case *lifecycle.CertTally:
		return &r.Rev
	case *lifecycle.Tally:
		return &r.Rev
	case *lifecycle.LedgerHead:
		return &r.Rev
	case *Operation:
		return &r.Rev
	}
	panic(fmt.Sprintf("a row of type %T has no revision", row))
}

// Refs of rows a plan was made on.

func RefKey(k *lifecycle.Key) command.RowRef {
	return command.RowRef{Table: string(TableKeys), Key: string(k.ID), Rev: k.Rev}
}

func RefVersion(v *lifecycle.Version) command.RowRef {
	return command.RowRef{Table: string(TableVersions), Key: versionKey(v.Key, v.Number), Rev: v.Rev}
}

func RefInstance(i *lifecycle.Instance) command.RowRef {
	return command.RowRef{Table: string(TableInstances), Key: instanceKey(i.Key, i.Version, i.Node), Rev: i.Rev}
}

func RefNode(n *lifecycle.Node) command.RowRef {
	return command.RowRef{Table: string(TableNodes), Key: string(n.ID), Rev: n.Rev}
}

func RefPrincipal(p *lifecycle.Principal) command.RowRef {
	return command.RowRef{Table: string(TablePrincipals), Key: p.Name, Rev: p.Rev}
}

func RefCluster(c *lifecycle.Cluster) command.RowRef {
	return command.RowRef{Table: string(TableCluster), Key: clusterKey, Rev: c.Rev}
}

func RefToken(t *lifecycle.Token) command.RowRef {
	return command.RowRef{Table: string(TableTokens), Key: t.ID, Rev: t.Rev}
}

func RefConsumer(c *lifecycle.Consumer) command.RowRef {
	return command.RowRef{Table: string(TableConsumers), Key: c.Name, Rev: c.Rev}
}

func RefIssuer(i *lifecycle.Issuer) command.RowRef {
	return command.RowRef{Table: string(TableIssuers), Key: string(i.Name), Rev: i.Rev}
}

func RefProfile(p *lifecycle.Profile) command.RowRef {
	return command.RowRef{Table: string(TableProfiles), Key: p.Name, Rev: p.Rev}
}
