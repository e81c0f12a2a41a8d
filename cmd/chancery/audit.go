package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func auditCommand() *cli.Command {
	filters := []cli.Flag{
		&cli.StringFlag{Name: "key", Usage: "only records about this key"},
		&cli.Uint64Flag{Name: "version", Usage: "only this version"},
		&cli.StringFlag{Name: "kid", Usage: "only this instance"},
		&cli.StringFlag{Name: "principal", Usage: "only what this principal asked for"},
		&cli.StringFlag{Name: "node", Usage: "ask this node: each keeps its own journal"},
		&cli.StringFlag{Name: "since", Usage: "RFC 3339, at or after"},
		&cli.StringFlag{Name: "until", Usage: "RFC 3339, before"},
	}
	dir := &cli.StringFlag{Name: "dir", Usage: "read the audit directory of a stopped node instead"}
	return group("audit", "a node's journal of what it decided and signed",
		looking("list", "", "list records", func(s *session) error {
			l, err := fetchAudit(s)
			if err != nil {
				return err
			}
			if s.String("node") == "" && s.String("dir") == "" {
				s.notef("%s; each node keeps its own: --node NAME", journalOf(l.Items))
			}
			return s.showPage(auditView(l, l.Items), l.Next)
		}, append(append(pageFlags(), filters...), dir)...),
		looking("verify", "", "walk along the hash chain", verifyAudit, dir,
			&cli.StringFlag{Name: "node", Usage: "ask this node"},
			&cli.StringFlag{Name: "anchor", Usage: "SEQ:HASH of a head seen earlier that the chain must still pass (with --dir)"}),
		looking("export", "", "write records, one JSON object per line", func(s *session) error {
			l, err := fetchAudit(s)
			if err != nil {
				return err
			}
			if s.format == formatCSV {
				return s.show(auditView(l, l.Items))
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			for _, r := range l.Items {
				if err := e.Encode(r); err != nil {
					return fmt.Errorf("encode record %d: %w", r.Seq, err)
				}
			}
			return s.write(s.String("out"), b.Bytes(), 0o600)
		}, append(append(pageFlags(), filters...), dir, &cli.StringFlag{Name: "out", Usage: "new file to write", DefaultText: "stdout"})...),
	)
}

// journalOf says whose journal was read, where nobody was named.
func journalOf(records []wire.AuditRecord) string {
	if len(records) == 0 {
		return "nothing in the journal of the node that answered"
	}
	return "from the journal of " + records[0].Node
}

// nodeAddr finds the api listener of a node by its name.
func nodeAddr(s *session, c *client.Client, name string) ([]client.Option, error) {
	if name == "" {
		return nil, nil
	}
	n, err := c.Node(s.ctx, name)
	if err != nil {
		return nil, err
	}
	return []client.Option{client.At(n.Addrs.API)}, nil
}

func fetchAudit(s *session) (wire.List[wire.AuditRecord], error) {
	none := wire.List[wire.AuditRecord]{}
	for _, flag := range []string{"since", "until"} {
		if t := s.String(flag); t != "" {
			if _, err := wire.ParseTime(t); err != nil {
				return none, usagef("--%s: %v", flag, err)
			}
		}
	}
	if s.String("dir") != "" {
		return readAudit(s)
	}
	c, err := s.client()
	if err != nil {
		return none, err
	}
	at, err := nodeAddr(s, c, s.String("node"))
	if err != nil {
		return none, err
	}
	version := ""
	if n := s.Uint64("version"); n > 0 {
		version = number(n)
	}
	return pages(s, func(o ...client.Option) (wire.List[wire.AuditRecord], error) {
		o = append(o, client.Query(wire.QueryKey, s.String("key")), client.Query(wire.QueryVersion, version), client.Query(wire.QueryKID, s.String("kid")),
			client.Query(wire.QueryActor, s.String("principal")), client.Query(wire.QuerySince, s.String("since")), client.Query(wire.QueryUntil, s.String("until")))
		l, err := c.Audit(s.ctx, append(o, at...)...)
		if err == nil && at == nil && l.Next != "" && len(l.Items) > 0 { // the next page is of the same journal, whoever is asked first then
			at, err = nodeAddr(s, c, l.Items[0].Node)
		}
		return l, err
	})
}

// readAudit reads the journal of a stopped node from its directory.
func readAudit(s *session) (l wire.List[wire.AuditRecord], err error) {
	f := audit.Filter{Key: s.String("key"), Version: s.Uint64("version"), KID: s.String("kid"), Principal: s.String("principal"),
		Node: s.String("node"), Limit: s.Int("limit")}
	if t, err := wire.ParseTime(s.String("since")); err == nil { // checked before; empty is no bound
		f.Since = t.Time()
	}
	if t, err := wire.ParseTime(s.String("until")); err == nil {
		f.Until = t.Time()
	}
	for e, err := range audit.Query(s.String("dir"), f) {
		if err != nil {
			return l, failedf("read the journal: %v", err)
		}
		l.Items = append(l.Items, wire.AuditRecord{Seq: e.Seq, At: wire.AsTime(e.At), Node: e.Node, Kind: string(e.Kind), Principal: e.Principal, Verb: e.Verb,
			Key: e.Key, Version: e.Version, KID: e.KID, RequestID: e.RequestID, Remote: e.Remote, Allowed: e.Allowed, Code: e.Code, Detail: e.Detail,
			Digest: e.Digest, Index: e.Index, Prev: e.Prev, Hash: e.Hash})
	}
	return l, nil
}

func auditView(value any, items []wire.AuditRecord) view {
	v := view{value: value, wide: 7, head: []string{"SEQ", "AT", "KIND", "PRINCIPAL", "VERB", "SUBJECT", "RESULT", "NODE", "KID", "REMOTE", "REQUEST", "DETAIL", "DIGEST"}}
	for _, r := range items {
		result := "allowed"
		switch audit.Kind(r.Kind) {
		case audit.Start, audit.Stop, audit.Recovered:
			result = "-" // nobody asked
		default:
			if !r.Allowed {
				result = "denied"
			}
		}
		if r.Code != "" {
			result += " " + r.Code
		}
		subject := r.Key
		if r.Version > 0 {
			subject += "/" + number(r.Version)
		}
		v.add(fmt.Sprint(r.Seq), fmt.Sprint(r.Seq), when(r.At), r.Kind, r.Principal, r.Verb, subject, result, r.Node, short(r.KID), r.Remote, r.RequestID, r.Detail, r.Digest)
	}
	return v
}

func verifyAudit(s *session) error {
	if dir := s.String("dir"); dir != "" {
		return verifyAuditDir(s, dir)
	}
	if s.String("anchor") != "" {
		return usagef("--anchor goes with --dir")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	at, err := nodeAddr(s, c, s.String("node"))
	if err != nil {
		return err
	}
	a, err := c.AuditCheck(s.ctx, at...)
	if err != nil {
		return err
	}
	return showAuditCheck(s, a)
}

func verifyAuditDir(s *session, dir string) error {
	var anchors []audit.Head
	if a := s.String("anchor"); a != "" {
		var h audit.Head
		if n, err := fmt.Sscanf(a, "%d:%s", &h.Seq, &h.Hash); n != 2 || err != nil {
			return usagef("--anchor %q: write it like 1200:9f86d081...", a)
		}
		anchors = append(anchors, h)
	}
	r, err := audit.Verify(dir, anchors...)
	if err != nil && !errors.Is(err, audit.ErrBroken) {
		return err
	}
	a := &wire.AuditCheck{Node: r.Node, OK: err == nil, Records: r.Records, Head: r.Head.Hash, HeadSeq: r.Head.Seq}
	if err != nil {
		a.Why = wire.Text(err.Error())
	}
	return showAuditCheck(s, a)
}

func showAuditCheck(s *session, a *wire.AuditCheck) error {
	v := view{value: a, names: []string{a.Head}}
	v.pair("node", a.Node)
	v.pair("records", fmt.Sprint(a.Records))
	v.pair("head", fmt.Sprintf("%d:%s", a.HeadSeq, a.Head))
	if a.OK {
		v.pair("check", "ok")
		return s.show(v)
	}
	v.pair("check", string(a.Why))
	return errors.Join(s.show(v), failedf("the audit chain does not hold: %s", a.Why))
}
