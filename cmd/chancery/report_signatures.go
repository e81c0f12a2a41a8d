package main

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func reportSignaturesCommand() *cli.Command {
	return looking("signatures", "NAME", "what a key signed, by every node's ledger, and how much of that is known", reportSignatures, append(pageFlags(),
		&cli.StringFlag{Name: "since", Usage: "RFC 3339, at or after, or a length of time back from now such as 36h", DefaultText: "since the key was made"},
		&cli.StringFlag{Name: "until", Usage: "RFC 3339, before, or a length of time back from now", DefaultText: "now"},
		&cli.Uint64Flag{Name: "version", Usage: "only this version"},
		&cli.StringFlag{Name: "kid", Usage: "only this instance; 8 characters will do"},
		&cli.BoolFlag{Name: "all", Usage: "list every signature, not the first page"})...)
}

func reportSignatures(s *session) error {
	var filters []client.Option
	for _, name := range []string{wire.QuerySince, wire.QueryUntil} {
		at, err := pastTime(s, name)
		if err != nil {
			return err
		}
		filters = append(filters, client.Query(name, at))
	}
	version := ""
	if n := s.Uint64("version"); n > 0 {
		version = number(n)
	}
	filters = append(filters, client.Query(wire.QueryVersion, version), client.Query(wire.QueryKID, s.String("kid")))
	c, err := s.client()
	if err != nil {
		return err
	}
	r, err := c.Signatures(s.ctx, s.arg(0), append(filters, client.Page(s.Int("limit"), s.String("cursor")))...)
	for s.Bool("all") && err == nil && r.Next != "" {
		var more *wire.SignatureReport
		if more, err = c.Signatures(s.ctx, s.arg(0), append(filters, client.Page(s.Int("limit"), string(r.Next)))...); err == nil {
			r.Items, r.Next = append(r.Items, more.Items...), more.Next
			addSilent(r, more)
		}
	}
	if err != nil {
		return err
	}
	if err := s.showPage(signaturesView(r), r.Next); err != nil {
		return err
	}
	completeness(s, r)
	return nil
}

// addSilent carries over which nodes did not answer for a later page.
func addSilent(r, more *wire.SignatureReport) {
	for _, n := range more.Nodes {
		for i := range r.Nodes {
			if r.Nodes[i].ID == n.ID && n.State != wire.LedgerComplete && r.Nodes[i].State == wire.LedgerComplete {
				r.Nodes[i].State, r.Nodes[i].Why, r.Complete = n.State, n.Why, false
			}
		}
	}
}

// pastTime reads an instant, or how long ago it was.
func pastTime(s *session, flag string) (string, error) {
	text := s.String(flag)
	if text == "" {
		return "", nil
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return wire.AsTime(time.Now().Add(-back)).String(), nil
	}
	if _, err := wire.ParseTime(text); err != nil {
		return "", usagef("--%s: %v", flag, err)
	}
	return text, nil
}

func signaturesView(r *wire.SignatureReport) view {
	v := view{value: r, wide: 6, head: []string{"AT", "NODE", "VERSION", "CALLER", "OUTCOME", "DIGEST", "REQUEST", "KID", "REMOTE", "VERB", "INDEX", "SEQ", "HASH"}}
	add := func(outcome string, list []wire.SignatureUse) {
		for _, u := range list {
			v.add(u.RequestID, when(u.At), u.Node, number(u.Version), u.Caller, outcome, digestCell(u.Digest), u.RequestID, u.KID, string(u.Remote), u.Verb, number(u.Index), number(u.Seq), u.Hash)
		}
	}
	add("released", r.Items)
	add("open", r.OpenUses)
	return v
}

func digestCell(d string) string {
	if len(d) > 16 {
		return d[:16] + "…"
	}
	return d
}

// completeness says on stderr what the table cannot: the counts, and what is not known.
// A program reads it in the JSON.
func completeness(s *session, r *wire.SignatureReport) {
	if s.String("cursor") == "" {
		s.notef("%d released, %d without a known outcome", r.Released, r.Open)
		var callers []string
		for _, c := range r.Callers {
			callers = append(callers, c.Caller+" "+number(c.Released))
		}
		if len(callers) > 0 {
			s.notef("by caller: %s", strings.Join(callers, ", "))
		}
	}
	for _, n := range r.Nodes {
		switch n.State {
		case wire.LedgerComplete:
			s.notef("%s: complete, known to %s", n.Node, when(n.KnownTo))
		default:
			s.notef("%s: %s, known to %s: %s; %d released since the key was made, by its last tally of %s", n.Node, n.State, when(n.KnownTo), n.Why, n.Tallied, when(n.TalliedTo))
		}
	}
	if !r.Complete {
		s.notef("NOT COMPLETE: whoever investigates takes every use by these nodes after the time they are known to for possible")
	}
}

func confirmKeyCommand() *cli.Command {
	return changing("confirm", "NAME", "say again why a key exists, so that its purpose does not expire", func(s *session) error {
		r := wire.ConfirmPurpose{BusinessReason: s.String("reason")}
		if r.BusinessReason == "" {
			return usagef("chancery key confirm needs --reason: why does the key still exist?")
		}
		if until := s.String("until"); until != "" {
			if ahead, err := time.ParseDuration(until); err == nil {
				r.ConfirmBy = wire.AsTime(time.Now().Add(ahead))
			} else if r.ConfirmBy, err = wire.ParseTime(until); err != nil {
				return usagef("--until: %v", err)
			}
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		op, err := c.ConfirmPurpose(s.ctx, s.arg(0), r, s.waits(wire.Committed)...)
		return s.finish(op, err, wire.Committed)
	},
		&cli.StringFlag{Name: "reason", Usage: "the business reason, as it stands now"},
		&cli.StringFlag{Name: "until", Usage: "when somebody has to look again: RFC 3339, or a length of time from now such as 4380h", DefaultText: "what the cluster's settings say, a year"})
}
