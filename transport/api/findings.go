package api

import (
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/report"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func findings(list []report.Finding) []wire.Finding {
	out := make([]wire.Finding, 0, len(list))
	for _, f := range list {
		out = append(out, wire.Finding{Code: string(f.Code), Severity: string(f.Severity), Message: f.Message, Hint: f.Hint, Controls: f.Controls})
	}
	return out
}

// rotationReport lists the keys with findings. The totals need a look at every key and
// come with the first page.
func (c *call) rotationReport() (any, error) {
	format, limit, err := c.reportPage()
	if err != nil {
		return nil, err
	}
	now := c.now()
	items := []wire.KeyFindings{}
	next := wire.Text("")
	report.Keys(c.snap.View, now, lifecycle.KeyID(c.query.Get(wire.QueryCursor)), func(r *report.KeyReport) bool {
		if len(items) == limit {
			next = wire.Text(r.Key.ID)
			return false
		}
		if len(r.Findings) > 0 {
			items = append(items, wire.KeyFindings{Key: string(r.Key.ID), Owner: r.Key.Owner, Purpose: string(r.Key.Purpose), ActiveVersion: r.Key.Active,
				ActivatedAt: wire.Time(r.ActivatedAt), DueAt: wire.Time(r.DueAt), ConfirmBy: wire.Time(r.Key.ConfirmBy), Signatures: r.Released,
				LastUsedAt: wire.Time(r.LastUsedAt), Findings: findings(r.Findings)})
		}
		return true
	})
	if format == "csv" {
		return rotationCSV(items)
	}
	pos := transport.Position(c.snap.Position())
	out := wire.RotationReport{Items: items, Next: next, Position: &pos, AsOf: wire.AsTime(c.snap.AsOf)}
	if c.query.Get(wire.QueryCursor) == "" {
		t := report.Total(c.snap.View, now)
		out.Totals = &wire.RotationTotals{Keys: t.Keys, Ended: t.Ended, WithinPolicy: t.WithinPolicy, WithinPolicyPerc: float64(t.ShareWithinPolicy()) / 10, Findings: map[string]int{}}
		for _, k := range report.Kinds {
			if k.About != report.AboutKey {
				continue // not looked for here: a zero would not be true
			}
			out.Totals.Findings[string(k.Code)] = t.ByCode[k.Code]
		}
	}
	return out, nil
}

// rotationCSV has a line for each finding.
func rotationCSV(items []wire.KeyFindings) (any, error) {
	rows := [][]string{{"key", "owner", "purpose", "active_version", "activated_at", "due_at", "confirm_by", "signatures", "last_used_at", "finding", "severity", "message", "controls"}}
	for _, i := range items {
		for _, f := range i.Findings {
			rows = append(rows, []string{i.Key, cell(i.Owner), i.Purpose, strconv.FormatUint(i.ActiveVersion, 10), i.ActivatedAt.String(), i.DueAt.String(), i.ConfirmBy.String(),
				strconv.FormatUint(i.Signatures, 10), i.LastUsedAt.String(), f.Code, f.Severity, cell(f.Message), strings.Join(f.Controls, "; ")})
		}
	}
	return csvOf(rows)
}

// dependentsReport lists who verifies, who signs and what was certified.
func (c *call) dependentsReport() (any, error) {
	if err := c.may(access.ReportRead, ""); err != nil {
		return nil, err
	}
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	format, err := c.reportFormat()
	if err != nil {
		return nil, err
	}
	items := []wire.DependentOf{}
	rows := [][]string{{"key", "kind", "name", "class", "owner", "contact", "expect", "have", "count", "last_seen_at", "effect", "finding", "controls"}}
	for _, d := range report.Dependents(c.snap.View, k, c.now()) {
		w := wire.DependentOf{Kind: d.Kind, Name: d.Name, Class: d.Class, Owner: d.Owner, Contact: d.Contact, Expect: d.Expect, Have: d.Have, Count: d.Count,
			LastSeenAt: wire.Time(d.LastSeenAt), Effect: d.Effect, Findings: findings(d.Findings)}
		items = append(items, w)
		row := []string{string(k.ID), w.Kind, cell(w.Name), w.Class, cell(w.Owner), cell(w.Contact), strconv.Itoa(w.Expect), strconv.Itoa(w.Have), strconv.FormatUint(w.Count, 10), w.LastSeenAt.String(), w.Effect}
		if len(w.Findings) == 0 {
			rows = append(rows, append(row, "", ""))
		}
		for _, f := range w.Findings {
			rows = append(rows, append(row[:len(row):len(row)], f.Code, strings.Join(f.Controls, "; ")))
		}
	}
	if format == "csv" {
		return csvOf(rows)
	}
	return listOf(c, items, ""), nil
}
