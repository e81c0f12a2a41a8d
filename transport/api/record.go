package api

import (
	"iter"
	"strconv"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// Journal is this node's audit journal as the API reads it.
type Journal interface {
	Query(audit.Filter) iter.Seq2[audit.Entry, error]
	Head() audit.Head
	Err() error
}

func (c *call) listLog() (any, error) {
	if err := c.may(access.LogRead, ""); err != nil {
		return nil, err
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	first, err := c.number(wire.QueryFrom, 0)
	if err != nil {
		return nil, err
	}
	if c.query.Get(wire.QueryCursor) != "" {
		if first, err = c.number(wire.QueryCursor, 0); err != nil {
			return nil, err
		}
	}
	var items []wire.LogEntry
	var next wire.Text
	err = c.snap.Leaves(first, func(n uint64, l *state.Leaf, b []byte) bool {
		if len(items) == limit {
			next = wire.Text(strconv.FormatUint(n, 10))
			return false
		}
		items = append(items, wire.LogEntry{Number: n, Leaf: string(b), Event: transport.Event(c.snap.View, l)})
		return true
	})
	return listOf(c, items, next), err
}

// keyHistory walks the whole log for one key. The walk of one page is bounded, and
// the cursor is the leaf to go on from.
func (c *call) keyHistory() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	first, err := c.number(wire.QueryCursor, 0)
	if err != nil {
		return nil, err
	}
	if first == 0 && k.Created.Index > 0 { // nothing about a key is older than the key
		if first, err = c.snap.LeafAfter(k.Created.Index - 1); err != nil {
			return nil, err
		}
	}
	var items []wire.Event
	var next wire.Text
	err = c.snap.Leaves(first, func(n uint64, l *state.Leaf, _ []byte) bool {
		if len(items) == limit || n-first > maxHistoryScan {
			next = wire.Text(strconv.FormatUint(n, 10))
			return false
		}
		if l.Key == k.ID {
			items = append(items, transport.Event(c.snap.View, l))
		}
		return true
	})
	return listOf(c, items, next), err
}

// maxHistoryScan bounds the leaves one page of a history looks at: about a second.
const maxHistoryScan = 200_000

func (c *call) auditFilter() (f audit.Filter, err error) {
	q := c.query
	f = audit.Filter{Key: q.Get(wire.QueryKey), KID: q.Get(wire.QueryKID), Principal: q.Get(wire.QueryActor), Node: q.Get(wire.QueryNode)}
	if f.Version, err = c.number(wire.QueryVersion, 0); err != nil {
		return f, err
	}
	if f.Since, err = c.instant(wire.QuerySince); err != nil {
		return f, err
	}
	if f.Until, err = c.instant(wire.QueryUntil); err != nil {
		return f, err
	}
	if f.AfterSeq, err = c.number(wire.QueryCursor, 0); err != nil {
		return f, err
	}
	f.Limit, err = c.limit()
	return f, err
}

func (c *call) journal() (Journal, error) {
	if err := c.may(access.AuditRead, ""); err != nil {
		return nil, err
	}
	if c.Journal == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node keeps no audit journal that can be read from here")
	}
	return c.Journal, nil
}

func (c *call) listAudit() (any, error) {
	j, err := c.journal()
	if err != nil {
		return nil, err
	}
	f, err := c.auditFilter()
	if err != nil {
		return nil, err
	}
	var items []wire.AuditRecord
	for e, err := range j.Query(f) {
		if err != nil {
			return nil, err
		}
		if c.r.Context().Err() != nil {
			return nil, c.r.Context().Err()
		}
		items = append(items, auditRecord(e))
	}
	var next wire.Text
	if len(items) == f.Limit {
		next = wire.Text(strconv.FormatUint(items[len(items)-1].Seq, 10))
	}
	return listOf(c, items, next), nil
}

func auditRecord(e audit.Entry) wire.AuditRecord {
	return wire.AuditRecord{Seq: e.Seq, At: wire.AsTime(e.At), Node: e.Node, Kind: string(e.Kind), Principal: e.Principal, Verb: e.Verb, Key: e.Key,
		Version: e.Version, KID: e.KID, RequestID: e.RequestID, Remote: e.Remote, Allowed: e.Allowed, Code: e.Code, Detail: e.Detail,
		Digest: e.Digest, Index: e.Index, Prev: e.Prev, Hash: e.Hash}
}

// checkAudit walks along the whole chain, which the query does on its way.
func (c *call) checkAudit() (any, error) {
	j, err := c.journal()
	if err != nil {
		return nil, err
	}
	out := wire.AuditCheck{Node: c.Node}
	for e, err := range j.Query(audit.Filter{}) {
		if err != nil {
			out.Why = wire.Text(err.Error())
			return out, nil
		}
		if c.r.Context().Err() != nil {
			return nil, c.r.Context().Err()
		}
		out.Records, out.HeadSeq, out.Head = out.Records+1, e.Seq, e.Hash
	}
	out.OK = true
	if err := j.Err(); err != nil {
		out.OK, out.Why = false, wire.Text(err.Error())
	}
	return out, nil
}

// inventory lists every instance of every key the caller may read.
func (c *call) inventory() (any, error) {
	format, limit, err := c.reportPage()
	if err != nil {
		return nil, err
	}
	var items []wire.InventoryItem
	var next wire.Text
	c.snap.EachKey(lifecycle.KeyID(c.query.Get(wire.QueryCursor)), func(k *lifecycle.Key) bool {
		if len(items) >= limit { // pages end between keys
			next = wire.Text(k.ID)
			return false
		}
		items = append(items, c.inventoryOf(k)...)
		return true
	})
	if format == "csv" {
		return inventoryCSV(items)
	}
	return listOf(c, items, next), nil
}

func (c *call) inventoryOf(k *lifecycle.Key) (out []wire.InventoryItem) {
	late := overdue(c.snap.View, k, c.now())
	for _, v := range c.snap.Versions(k.ID) {
		for _, i := range c.snap.Instances(k.ID, v.Number) {
			out = append(out, wire.InventoryItem{Key: string(k.ID), Purpose: k.Purpose, Alg: k.Alg, Bits: k.Bits, Owner: k.Owner, BusinessReason: k.Reason,
				Version: v.Number, State: v.State, Node: nodeName(c.snap.View, i.Node), KID: wire.Text(i.KID), Condition: i.Condition,
				Driver: wire.Text(i.Driver), CKAID: i.CKAID.String(), Attributes: notNil(i.Attributes), Extractable: extractable(i),
				CreatedAt: wire.Time(v.Created.At), ActivatedAt: wire.Time(v.ActivatedAt), InTrustSet: i.InTrustSet(v), Overdue: late && v.Number == k.Active})
		}
	}
	return out
}

// extractable reads the attribute that the device reported, nil when it did not.
func extractable(i *lifecycle.Instance) *bool {
	for _, a := range i.Attributes {
		switch a {
		case "CKA_EXTRACTABLE=true":
			yes := true
			return &yes
		case "CKA_EXTRACTABLE=false":
			no := false
			return &no
		}
	}
	return nil
}
