package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func waitCommand() *cli.Command {
	return looking("wait", "REQUEST_ID", "wait until a request has come as far as --for says", func(s *session) error {
		if level := s.String("for"); !slices.Contains(allLevels, level) {
			return usagef("--for %q: choose one of %v", level, allLevels)
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		op, err := s.follow(c, &wire.Operation{RequestID: s.arg(0)}, s.String("for"))
		if op == nil {
			return err
		}
		return errors.Join(s.show(operationView(op)), err)
	}, &cli.StringFlag{Name: "for", Value: wire.Committed, Usage: "committed, approved, prepared, published, active, fenced, settled, confirmed or destroyed"})
}

// allLevels are the levels that some request reaches.
var allLevels = []string{wire.Committed, wire.Approved, wire.Prepared, wire.Published, wire.Activated, wire.Fenced, wire.Settled, wire.Destroyed, wire.AllConfirmed}

func operationsCommand() *cli.Command {
	return group("operations", "requests of the last day and what became of them",
		looking("list", "", "list requests, newest first", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			l, err := pages(s, func(o ...client.Option) (wire.List[wire.Operation], error) {
				return c.Operations(s.ctx, append(o, client.Query(wire.QueryActor, s.String("principal")))...)
			})
			if err != nil {
				return err
			}
			v := view{value: l, head: []string{"REQUEST ID", "VERB", "SUBJECT", "REACHED", "AT", "BY"}}
			for _, op := range l.Items {
				v.add(op.RequestID, op.RequestID, op.Verb, about(&op), reachedText(&op), committedAt(&op), op.Actor)
			}
			return s.showPage(v, l.Next)
		}, append(pageFlags(), &cli.StringFlag{Name: "principal", Usage: "only requests of this principal"})...),
		looking("show", "REQUEST_ID", "show one request", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			op, err := c.Operation(s.ctx, s.arg(0))
			if err != nil {
				return err
			}
			return s.show(operationView(op))
		}),
	)
}

// held is how long a node may hold a request before the command asks again.
const held = 20 * time.Second

// waits adds what a node needs to hold the request until level is reached.
func (s *session) waits(level string) []client.Option {
	if level == "" || s.Bool("plan") {
		return s.changes()
	}
	// Half of the time, so that the answer is here before the time is up.
	return s.changes(client.Wait(level, min(held, s.timeout/2)))
}

// finish prints what a change came to, after waiting for each of the levels that is
// not reached yet; "" waits for nothing.
func (s *session) finish(op *wire.Operation, err error, levels ...string) error {
	if err != nil {
		return err
	}
	var waitErr error
	for _, level := range levels {
		waiting := op.Status == wire.PendingApproval && level != wire.Approved
		if waitErr != nil || level == "" || op.Plan || op.Has(level) || op.Complete || waiting {
			continue
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		var last *wire.Operation
		if last, waitErr = s.follow(c, op, level); last != nil {
			op = last
		}
	}
	switch {
	case op.Status == wire.PendingApproval:
		waitErr = &pendingApproval{op}
	case op.Error != nil && waitErr == nil: // of a proposal that came to nothing
		waitErr = op.Error
	}
	if waitErr != nil && s.format == formatJSON {
		return waitErr // the error object carries the operation
	}
	return errors.Join(s.show(operationView(op)), waitErr)
}

// follow waits for a level and shows on a terminal what it waits for.
func (s *session) follow(c *client.Client, op *wire.Operation, level string) (*wire.Operation, error) {
	said := ""
	last, err := c.WaitFor(s.ctx, op.RequestID, level, func(o *wire.Operation) {
		if line := progress(o, level); line != said && !o.Has(level) {
			s.notef("%s", line)
			said = line
		}
	})
	if last == nil {
		last = op
	}
	var gone *client.Unavailable
	switch {
	case err != nil && s.ctx.Err() != nil && last.Status == wire.PendingApproval:
		return last, &pendingApproval{last}
	case err != nil && s.ctx.Err() != nil && last.Verb != "":
		return last, &waitTimedOut{last, level, nil}
	case errors.As(err, &gone) && last.Verb != "": // it is done, whoever cannot be asked now
		return last, &waitTimedOut{last, level, err}
	case err != nil:
		return nil, err
	case last.Error != nil:
		return last, last.Error
	case last.Status == wire.PendingApproval:
		return last, &pendingApproval{last}
	}
	return last, nil
}

func progress(o *wire.Operation, level string) string {
	line := fmt.Sprintf("%s: %s, waiting for %s", o.RequestID, orDash(o.Reached), level)
	if o.Status == wire.PendingApproval {
		line = fmt.Sprintf("%s: proposal %s has %d of %d approvals", o.RequestID, o.Proposal, o.Have, o.Needs)
	}
	for _, n := range o.Missing() {
		line += "; " + n.Node + " " + nodeText(&n)
	}
	for _, b := range o.WaitsFor {
		line += fmt.Sprintf("; %s %s", b.Kind, b.Name)
		if b.Hint != "" {
			line += " (" + b.Hint + ")"
		}
	}
	return line
}

// about names what an operation changes.
func about(op *wire.Operation) string {
	if op.Key == "" {
		return op.Subject
	}
	var parts []string
	for _, v := range op.Versions {
		parts = append(parts, number(v))
	}
	if len(parts) == 0 {
		return op.Key
	}
	return op.Key + "/" + strings.Join(parts, ",")
}

func reachedText(op *wire.Operation) string {
	switch {
	case op.Error != nil:
		return "refused: " + string(op.Error.Code)
	case op.Status != "":
		return op.Status
	}
	return orDash(op.Reached)
}

func committedAt(op *wire.Operation) string {
	if op.Committed == nil {
		return "-"
	}
	return when(op.Committed.At)
}

func operationView(op *wire.Operation) view {
	v := view{value: op, names: []string{op.RequestID}}
	v.pair("request", op.RequestID)
	v.pair("verb", op.Verb)
	v.pair("subject", about(op))
	v.pair("reason", string(op.Reason))
	v.pair("comment", op.Comment)
	if op.NewVersion != 0 {
		v.pair("new version", number(op.NewVersion))
	}
	if op.Plan {
		v.pair("plan", "nothing was changed")
	} else {
		v.pair("reached", reachedText(op))
	}
	if op.Proposal != "" {
		v.pair("proposal", fmt.Sprintf("%s, %d of %d approvals", op.Proposal, op.Standing(), op.Needs))
	}
	if op.ExpiresAt != 0 {
		v.pair("expires", when(op.ExpiresAt))
	}
	levelPairs(&v, op)
	for _, n := range op.Nodes {
		v.pair("node "+n.Node, nodeText(&n))
	}
	for _, b := range op.WaitsFor {
		v.pair("waits for", strings.TrimSpace(b.Kind+" "+b.Name+" "+b.Hint))
	}
	for _, c := range op.StillTrusting {
		v.pair("still trusts", consumerText(&c))
	}
	radiusPairs(&v, op)
	lossPairs(&v, op.Loss)
	for _, e := range op.Effects {
		v.pair("would", e)
	}
	for _, w := range op.Warnings {
		v.pair("warning", w)
	}
	for _, n := range op.Next {
		v.pair("next", n)
	}
	return v
}

// levelPairs shows when each level was reached, in the order in which they are spoken of.
func levelPairs(v *view, op *wire.Operation) {
	level := func(name string, at *wire.Reached) {
		if at != nil && !(op.Plan && at.WithinMS == 0) { // a plan has levels without a bound
			v.pair(name, levelText(at))
		}
	}
	level("committed", op.Committed)
	level("prepared", op.Prepared)
	level("fenced", op.Fenced)
	level("settled", op.Settled)
	if p := op.Published; p != nil {
		switch {
		case p.At != 0:
			v.pair("published", when(p.At))
		case p.WithinMS != 0:
			v.pair("published", fmt.Sprintf("caches let go within %d ms", p.WithinMS))
		}
		for _, k := range sortedKeys(p.CachesExpireBy) {
			v.pair(k+" caches expire by", when(p.CachesExpireBy[k]))
		}
	}
	level("active", op.Active)
	level("confirmed", op.Confirmed)
	level("destroyed", op.Destroyed)
}

func levelText(r *wire.Reached) string {
	switch {
	case r.At != 0 && r.Index == 0:
		return fmt.Sprintf("%s (%d ms)", when(r.At), r.MS)
	case r.At != 0:
		return fmt.Sprintf("%s (entry %d, %d ms)", when(r.At), r.Index, r.MS)
	case r.WithinMS != 0:
		return fmt.Sprintf("within %d ms", r.WithinMS)
	case r.By != 0:
		return "not yet, by " + when(r.By)
	}
	return "not yet"
}

// Pages.

func pageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Usage: "at most so many items"},
		&cli.StringFlag{Name: "cursor", Usage: "go on where a page ended: its next"},
	}
}

// pages reads one page when --limit or --cursor asks for one, else the whole list.
func pages[T any](s *session, fetch func(...client.Option) (wire.List[T], error)) (wire.List[T], error) {
	if s.Int("limit") < 0 {
		return wire.List[T]{}, usagef("--limit %d is negative", s.Int("limit"))
	}
	if s.Int("limit") > 0 || s.String("cursor") != "" {
		return fetch(client.Page(s.Int("limit"), s.String("cursor")))
	}
	all, err := fetch(client.Page(wire.MaxListLimit, ""))
	for err == nil && all.Next != "" {
		var more wire.List[T]
		more, err = fetch(client.Page(wire.MaxListLimit, string(all.Next)))
		all.Items, all.Next = append(all.Items, more.Items...), more.Next
	}
	return all, err
}

func (s *session) showPage(v view, next wire.Text) error {
	err := s.show(v)
	if next != "" && s.format != formatJSON && s.format != formatYAML {
		s.notef("there is more: --cursor %s", next)
	}
	return err
}
