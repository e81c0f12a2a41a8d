package api

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// signed is what an instance has signed: of this node's as its journal counts, of the
// others' as they have reported, a few seconds ago at most while they are up.
func (a *API) signed(v *state.View, i *lifecycle.Instance) (c evidence.Count) {
	if t := v.Tally(i.Key, i.Version, i.Node); t != nil {
		c = evidence.Count{Released: t.Released, Open: t.Open, LastAt: t.LastAt}
	}
	if a.Tally != nil && i.Node == a.Service.Ledger().NodeID() {
		if own, known := a.Tally(i.KID); known {
			return own
		}
	}
	return c
}

func (c *call) confirmPurpose(in *wire.ConfirmPurpose) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.ConfirmPurpose(c.r.Context(), req, c.name(), in.BusinessReason, in.ConfirmBy.Instant())
	return c.operation(asked{verb: "confirm", kind: command.KindConfirmPurpose, key: c.name(), comment: in.BusinessReason}, r, err)
}

// signatureReport asks every node for its ledger of the key.
func (c *call) signatureReport() (any, error) {
	if err := c.may(access.AuditRead, ""); err != nil {
		return nil, err
	}
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	if c.Ledger == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node cannot ask the others for their ledgers")
	}
	format, err := c.reportFormat()
	if err != nil {
		return nil, err
	}
	ask := evidence.Ask{Key: string(k.ID)}
	if ask.Version, err = c.number(wire.QueryVersion, 0); err != nil {
		return nil, err
	}
	if kid := c.query.Get(wire.QueryKID); kid != "" {
		i, err := authority.FindInstance(c.snap.View, k.ID, kid)
		if err != nil {
			return nil, err
		}
		ask.KID = i.KID
	}
	if ask.Since, err = c.instant(wire.QuerySince); err != nil {
		return nil, err
	}
	if ask.Until, err = c.instant(wire.QueryUntil); err != nil {
		return nil, err
	}
	if ask.Limit, err = c.limit(); err != nil {
		return nil, err
	}
	ask.Limit = min(ask.Limit, evidence.MaxEntries)
	r, err := evidence.Collect(c.r.Context(), c.snap.View, c.Ledger, ask, c.query.Get(wire.QueryCursor))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	out := c.signatureView(&ask, &r)
	if format == "csv" {
		return signaturesCSV(out)
	}
	return out, nil
}

func (c *call) signatureView(ask *evidence.Ask, r *evidence.Report) *wire.SignatureReport {
	out := &wire.SignatureReport{Key: ask.Key, Since: wire.AsTime(ask.Since), Until: wire.AsTime(ask.Until), Complete: r.Complete, Released: r.Released, Open: r.Open,
		Callers: []wire.CallerCount{}, Others: r.Others, Items: c.uses(r.Entries), OpenUses: c.uses(r.OpenUses), Nodes: []wire.LedgerOfANode{}, Next: wire.Text(r.Next),
		Position: transport.Position(c.snap.Position()), AsOf: wire.AsTime(c.snap.AsOf)}
	for _, n := range r.Callers {
		out.Callers = append(out.Callers, wire.CallerCount(n))
	}
	for _, n := range r.Nodes {
		out.Nodes = append(out.Nodes, wire.LedgerOfANode{Node: n.Node, ID: n.ID, State: n.State, KnownTo: wire.Time(n.KnownAt), Why: wire.Text(n.Why),
			Released: n.Answer.Released, Open: n.Answer.Open, Tallied: n.Tallied, TalliedOpen: n.TalliedOpen, TalliedTo: wire.Time(n.TalliedAt),
			Missing: n.Missing, HeadSeq: n.Answer.HeadSeq, Head: wire.Text(n.Answer.HeadHash)})
	}
	return out
}

func (c *call) uses(list []evidence.Entry) []wire.SignatureUse {
	out := make([]wire.SignatureUse, 0, len(list))
	for _, e := range list {
		out = append(out, wire.SignatureUse{At: wire.AsTime(e.At), Node: nodeName(c.snap.View, e.Node), Version: e.Version, KID: e.KID, Caller: e.Caller, Digest: e.Digest,
			RequestID: e.RequestID, Remote: wire.Text(e.Remote), Index: e.Index, Verb: e.Verb, Seq: e.Seq, Hash: e.Hash})
	}
	return out
}

// signaturesCSV has a line for each signature of the page, for each open use, and for
// each node what is known of it: a file without that would pass for complete.
func signaturesCSV(r *wire.SignatureReport) (any, error) {
	rows := [][]string{{"outcome", "at", "node", "key", "version", "kid", "caller", "digest", "request_id", "index", "seq", "hash", "note"}}
	add := func(outcome string, list []wire.SignatureUse) {
		for _, u := range list {
			rows = append(rows, []string{outcome, u.At.String(), u.Node, r.Key, strconv.FormatUint(u.Version, 10), u.KID, cell(u.Caller), u.Digest, cell(u.RequestID),
				strconv.FormatUint(u.Index, 10), strconv.FormatUint(u.Seq, 10), u.Hash, ""})
		}
	}
	add("released", r.Items)
	add("open", r.OpenUses)
	for _, n := range r.Nodes {
		rows = append(rows, []string{"node " + n.State, n.KnownTo.String(), n.Node, r.Key, "", "", "", "", "", "", strconv.FormatUint(n.HeadSeq, 10), string(n.Head), cell(string(n.Why))})
	}
	return csvOf(rows)
}

// reportFormat reads how a report is wanted.
func (c *call) reportFormat() (string, error) {
	format := c.query.Get(queryFormat)
	if format != "" && format != "json" && format != "csv" {
		return "", wire.Errorf(wire.Invalid, "unknown report format %.20q: choose json or csv", format)
	}
	return format, nil
}

// csvOf writes RFC 4180.
func csvOf(rows [][]string) (any, error) {
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return raw{contentType: "text/csv; charset=utf-8", body: b.Bytes()}, nil
}
