package state

import (
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Cold runs a read of the tables that are not kept in memory, in one transaction.
type Cold func(func(Reader) error) error

// View is one published state, pinned: whatever is applied meanwhile, it answers
// the same. Rows are shared, so callers never write to them. Reads of the log and
// of operations go to the file and may fail; the log read is bounded by the View's
// own size.
type View struct {
	root *Root
	cold Cold
}

// NewView pins a root.
func NewView(r *Root, cold Cold) *View { return &View{root: r, cold: cold} }

// Position of the state.
func (v *View) Position() Position { return v.root.Meta.Position() }

// Clock is the newest time any applied command carried.
func (v *View) Clock() lifecycle.Instant { return v.root.Meta.Clock }

// Mark is the newest {log size, root, digest} noted, Confirmed the newest that a
// majority agreed on.
func (v *View) Mark() Mark      { return v.root.Meta.Mark }
func (v *View) Confirmed() Mark { return v.root.Meta.Confirmed }

func viewGet[T any](v *View, t Table, key string) *T {
	if row, ok := v.root.hot.get(t, key); ok {
		return row.(*T)
	}
	return nil
}

func viewList[T any](v *View, t Table, prefix string) []*T {
	return list[T](v.root.hot, t, prefix)
}

// Cluster is the row about the cluster, nil before genesis.
func (v *View) Cluster() *lifecycle.Cluster {
	return viewGet[lifecycle.Cluster](v, TableCluster, clusterKey)
}

// Key by name, nil when there is none.
func (v *View) Key(id lifecycle.KeyID) *lifecycle.Key {
	return viewGet[lifecycle.Key](v, TableKeys, string(id))
}

// EachKey calls fn for every key in name order, beginning at from, until fn
// returns false.
func (v *View) EachKey(from lifecycle.KeyID, fn func(*lifecycle.Key) bool) {
	ascendFrom(v.root.hot, TableKeys, "", string(from), fn)
}

// Version of a key, nil when there is none.
func (v *View) Version(id lifecycle.KeyID, n uint64) *lifecycle.Version {
	return viewGet[lifecycle.Version](v, TableVersions, versionKey(id, n))
}

// Versions of a key in number order.
func (v *View) Versions(id lifecycle.KeyID) []*lifecycle.Version {
	return viewList[lifecycle.Version](v, TableVersions, string(id)+"\x00")
}

// Instance of a version on a node, nil when there is none.
func (v *View) Instance(id lifecycle.KeyID, n uint64, node lifecycle.NodeID) *lifecycle.Instance {
	return viewGet[lifecycle.Instance](v, TableInstances, instanceKey(id, n, node))
}

// Instances of a version in node order.
func (v *View) Instances(id lifecycle.KeyID, n uint64) []*lifecycle.Instance {
	return viewList[lifecycle.Instance](v, TableInstances, instancePrefix(id, n))
}

// EachInstance calls fn for every instance of every key until fn returns false.
func (v *View) EachInstance(fn func(*lifecycle.Instance) bool) {
	ascend(v.root.hot, TableInstances, "", fn)
}

// ByKID finds the instances whose kid begins with prefix: one for a whole kid,
// several when the prefix is too short to tell them apart.
func (v *View) ByKID(prefix string) (out []*lifecycle.Instance) {
	for _, r := range viewList[KIDRow](v, TableKIDs, prefix) {
		if i := v.Instance(r.Key, r.Version, r.Node); i != nil {
			out = append(out, i)
		}
	}
	return out
}

// Node by id, nil when there is none.
func (v *View) Node(id lifecycle.NodeID) *lifecycle.Node {
	return viewGet[lifecycle.Node](v, TableNodes, string(id))
}

// Nodes in id order, removed ones included.
func (v *View) Nodes() []*lifecycle.Node { return viewList[lifecycle.Node](v, TableNodes, "") }

// NodeByName finds a node by its label, or by an id prefix of 8 characters or
// more. Members win over removed nodes of the same name.
func (v *View) NodeByName(name string) (found *lifecycle.Node) {
	for _, n := range v.Nodes() {
		if n.Name == name || len(name) >= 8 && strings.HasPrefix(string(n.ID), name) {
			if found == nil || found.Status == lifecycle.Removed {
				found = n
			}
		}
	}
	return found
}

// Principal by name, nil when there is none. Revoked principals are found too.
func (v *View) Principal(name string) *lifecycle.Principal {
	return viewGet[lifecycle.Principal](v, TablePrincipals, name)
}

// Principals in name order.
func (v *View) Principals() []*lifecycle.Principal {
	return viewList[lifecycle.Principal](v, TablePrincipals, "")
}

// PrincipalByCert finds the principal that a client certificate's key belongs
// to, by the hex SHA-256 of its SPKI.
func (v *View) PrincipalByCert(spkiHash string) *lifecycle.Principal {
	if r := viewGet[NameRow](v, TableCerts, spkiHash); r != nil {
		return v.Principal(r.Name)
	}
	return nil
}

// Token by id; Tokens in id order.
func (v *View) Token(id string) *lifecycle.Token { return viewGet[lifecycle.Token](v, TableTokens, id) }
func (v *View) Tokens() []*lifecycle.Token       { return viewList[lifecycle.Token](v, TableTokens, "") }

// TokenBySecret finds the token whose secret has this SHA-256.
func (v *View) TokenBySecret(hash [32]byte) *lifecycle.Token {
	if r := viewGet[NameRow](v, TableSecrets, hex.EncodeToString(hash[:])); r != nil {
		return v.Token(r.Name)
	}
	return nil
}

// Proposal by id, nil when there is none. Ended ones are found too.
func (v *View) Proposal(id string) *lifecycle.Proposal {
	if p := viewGet[lifecycle.Proposal](v, TableProposals, proposalWaits+id); p != nil {
		return p
	}
	return viewGet[lifecycle.Proposal](v, TableProposals, proposalEnded+id)
}

// Proposals that wait for approvals, or to be executed, in id order.
func (v *View) Proposals() []*lifecycle.Proposal {
	return viewList[lifecycle.Proposal](v, TableProposals, proposalWaits)
}

// EndedProposals in id order, beginning at an id, until fn returns false. There may be
// years of them.
func (v *View) EndedProposals(from string, fn func(*lifecycle.Proposal) bool) {
	ascendFrom(v.root.hot, TableProposals, proposalEnded, from, fn)
}

// RuleFor is the rule in force that asks approvals for the command, nil when none does.
func (v *View) RuleFor(body command.Body) *lifecycle.ApprovalRule {
	return v.tx().ruleFor(body)
}

// Standing is how many of a proposal's approvals count now: an approver may have been
// revoked, or lost the key, since.
func (v *View) Standing(p *lifecycle.Proposal) int { return v.tx().standing(p) }

// tx reads the View as a handler would; nothing comes of what it writes.
func (v *View) tx() *tx {
	return &tx{hot: hotTx{base: v.root.hot}, clock: v.root.Meta.Clock, index: v.root.Meta.Index, head: &command.Header{}}
}

// JoinToken by id, nil when there is none.
func (v *View) JoinToken(id string) *lifecycle.JoinToken {
	return viewGet[lifecycle.JoinToken](v, TableJoinTokens, id)
}

// Operation finds a request by principal and id, nil when it is not remembered.
func (v *View) Operation(actor, id string) (op *Operation, err error) {
	err = v.cold(func(r Reader) error {
		b := r.Get(TableOperations, operationKey(actor, id))
		if b == nil {
			return nil
		}
		op = new(Operation)
		return command.Unmarshal(b, op)
	})
	return op, err
}

// Operations calls fn for remembered requests, oldest first, from id on.
func (v *View) Operations(from string, fn func(*Operation) bool) error {
	return v.cold(func(r Reader) (err error) {
		r.Ascend(TableOperations, from, func(_ string, b []byte) bool {
			op := new(Operation)
			if err = command.Unmarshal(b, op); err != nil {
				return false
			}
			return fn(op)
		})
		return err
	})
}

// Leaves calls fn for the leaves from number first up to the View's log size,
// until fn returns false.
func (v *View) Leaves(first uint64, fn func(n uint64, leaf *Leaf, raw []byte) bool) error {
	size := v.Position().LogSize
	return v.cold(func(r Reader) (err error) {
		r.Ascend(TableLog, number(first), func(key string, b []byte) bool {
			n := parseNumber(key)
			if n >= size {
				return false
			}
			var leaf *Leaf
			if leaf, err = ParseLeaf(b); err != nil {
				err = fmt.Errorf("read leaf %d: %w", n, err)
				return false
			}
			return fn(n, leaf, append([]byte(nil), b...))
		})
		return err
	})
}

// LeafAfter finds the number of the first leaf whose entry index is greater than
// index, by bisection: indexes only grow along the log.
func (v *View) LeafAfter(index uint64) (n uint64, err error) {
	lo, hi := uint64(0), v.Position().LogSize
	err = v.cold(func(r Reader) error {
		for lo < hi {
			mid := lo + (hi-lo)/2
			leaf, err := ParseLeaf(r.Get(TableLog, number(mid)))
			if err != nil {
				return fmt.Errorf("read leaf %d: %w", mid, err)
			}
			if leaf.Index > index {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		return nil
	})
	return lo, err
}

// Hashes reads stored hashes of the lifecycle log (tlog numbering), for proofs
// and tiles.
func (v *View) Hashes() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		err = v.cold(func(r Reader) error {
			out, err = hashReader{r}.ReadHashes(indexes)
			return err
		})
		return out, err
	})
}
