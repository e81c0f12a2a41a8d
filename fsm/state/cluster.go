package state

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) init(c *command.Init) Outcome {
	if x.cluster() != nil {
		return refuse(AlreadyExists, c.Name, "the cluster has a genesis entry already")
	}
	if !administers(c.Admin.Grants) {
		return refuse(Invalid, c.Admin.Name, "the first principal needs the role admin:*, or nobody could administer the cluster")
	}
	if len(c.Settings.Approvals)+len(c.Settings.BreakGlass) > 0 {
		return refuse(Invalid, c.Name, "a new cluster has no approvers yet: add them first, then set the approval rules")
	}
	put(x, TableCluster, clusterKey, &lifecycle.Cluster{
		ID: c.ClusterID, Name: c.Name, Epoch: 1, Format: 1, Settings: c.Settings, Created: x.origin(),
	})
	x.keepDeliveries(c.Settings.Webhooks)
	n := x.newNode(c.Node)
	n.Voter, n.Signer = true, true
	x.putNode(n)
	x.record(Leaf{Kind: "cluster.created", Detail: c.Name, After: c.ClusterID})
	x.record(Leaf{Kind: "node.joined", Node: n.ID, After: string(n.Status), Detail: n.Name})
	if o := x.writePrincipal(c.Admin); !o.OK() {
		return o
	}
	return Outcome{Subject: c.Name}
}

func (x *tx) raiseFormat(c *command.RaiseFormat) Outcome {
	row := *x.cluster()
	if c.Format <= row.Format {
		return refuse(FormatRefused, "", "the format is %d and is never lowered", row.Format)
	}
	var old *lifecycle.Node
	ascend(x.hot.freeze(), TableNodes, "", func(n *lifecycle.Node) bool {
		if n.Voter && n.Status != lifecycle.Removed && n.MaxFormat < c.Format {
			old = n
		}
		return old == nil
	})
	if old != nil {
		return refuse(FormatRefused, old.Name, "this voter supports format %d at most: upgrade it first", old.MaxFormat)
	}
	if c.Format > command.MaxFormat {
		// Every voter knows this format and we do not: going on would mean skipping
		// what we cannot read.
		panic(&Corruption{Index: x.index, Err: command.ErrUnknownKind})
	}
	before := strconv.FormatUint(row.Format, 10)
	row.Format = c.Format
	put(x, TableCluster, clusterKey, &row)
	x.record(Leaf{Kind: "cluster.format_raised", Before: before, After: strconv.FormatUint(c.Format, 10)})
	return Outcome{}
}

func (x *tx) setSettings(c *command.SetSettings) Outcome {
	row := *x.cluster()
	if o := x.checkSettings(row.Settings, c.Settings); !o.OK() {
		return o
	}
	x.shortenTerms(&row, c.Settings)
	row.Settings = c.Settings
	put(x, TableCluster, clusterKey, &row)
	x.keepDeliveries(c.Settings.Webhooks)
	x.record(Leaf{Kind: "cluster.settings_changed"})
	return Outcome{}
}

// rotateGossipKey replaces the digest by which members know the newest key. Whoever
// holds neither the key nor a way to its holder goes on with the one before.
func (x *tx) rotateGossipKey(c *command.RotateGossipKey) Outcome {
	row := *x.cluster()
	next := lifecycle.GossipKey{Generation: 1, Digest: c.Digest, Rotated: x.origin()}
	before := ""
	if old := row.GossipKey; old != nil {
		if bytes.Equal(old.Digest, c.Digest) {
			return refuse(AlreadyExists, "", "this is the gossip key of generation %d already", old.Generation)
		}
		next.Generation, before = old.Generation+1, hex.EncodeToString(old.Digest)
	}
	row.GossipKey = &next
	put(x, TableCluster, clusterKey, &row)
	x.record(Leaf{Kind: "cluster.gossip_key_rotated", Before: before, After: hex.EncodeToString(c.Digest)})
	return Outcome{}
}
