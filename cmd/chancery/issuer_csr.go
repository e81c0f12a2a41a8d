package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func issuerCSRCommand() *cli.Command {
	return looking("csr", "NAME", "certificate requests of an external issuer's instances, each signed on its own node", requestCACerts,
		&cli.StringFlag{Name: "node", Usage: "only this node's", DefaultText: "every node whose instance lacks a CA certificate"},
		&cli.Uint64Flag{Name: "version", Usage: "of the issuer's key", DefaultText: "the newest that is published"},
		&cli.StringFlag{Name: "out", Usage: "write the request to this file (PEM); with --node", DefaultText: "stdout"},
		&cli.StringFlag{Name: "dir", Usage: "write NAME-NODE.csr for each node into this directory"})
}

// caCertRequests is what the nodes answered.
type caCertRequests struct {
	Issuer    string               `json:"issuer"`
	Requests  []wire.CACertRequest `json:"requests"`
	Remaining []remainingNode      `json:"remaining"`
}

// remainingNode still has to ask for its CA certificate.
type remainingNode struct {
	Node string    `json:"node"`
	Why  wire.Text `json:"why"`
}

func requestCACerts(s *session) error {
	if s.String("out") != "" && (s.String("node") == "" || s.String("dir") != "") {
		return usagef("--out is one file for one request: add --node NODE, or write all of them with --dir DIR")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	nodes, err := s.requesters(c)
	if err != nil {
		return err
	}
	all := caCertRequests{Issuer: s.arg(0), Requests: []wire.CACertRequest{}, Remaining: []remainingNode{}}
	for _, n := range nodes {
		r, err := c.RequestCACert(s.ctx, s.arg(0), wire.RequestCACert{Version: s.Uint64("version")}, client.At(n.Addrs.API))
		switch {
		case err != nil && len(nodes) == 1:
			return err
		case err != nil:
			all.Remaining = append(all.Remaining, remainingNode{n.Name, wire.Text(err.Error())})
		default:
			all.Requests = append(all.Requests, *r)
		}
	}
	return s.showRequests(all)
}

// requesters are the nodes to ask: the one that was named, or those that sign and whose
// newest instance has no CA certificate.
func (s *session) requesters(c *client.Client) ([]wire.Node, error) {
	if name := s.String("node"); name != "" {
		n, err := c.Node(s.ctx, name)
		if err != nil {
			return nil, err
		}
		return []wire.Node{*n}, nil
	}
	is, err := c.Issuer(s.ctx, s.arg(0))
	if err != nil {
		return nil, err
	}
	newest := map[string]wire.IssuerInstance{}
	for _, i := range is.Instances {
		if want := s.Uint64("version"); i.KID != "" && i.Version >= newest[i.Node].Version && (want == 0 || i.Version == want) {
			newest[i.Node] = i
		}
	}
	l, err := c.Nodes(s.ctx)
	if err != nil {
		return nil, err
	}
	nodes := slices.DeleteFunc(l.Items, func(n wire.Node) bool {
		i, found := newest[n.Name]
		if found && certified(i) {
			s.notef("%s has a CA certificate until %s", n.Name, when(i.NotAfter))
		}
		return !found || certified(i) || !slices.Contains(n.Roles, "signer")
	})
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no node has an instance of %s that lacks a CA certificate: ask for another one with --node NODE", is.Name)
	}
	return nodes, nil
}

// certified reports whether the instance has a CA certificate and less than half of its
// life is over.
func certified(i wire.IssuerInstance) bool {
	from, to := i.NotBefore.Time(), i.NotAfter.Time()
	return i.Subject != "" && time.Now().Before(from.Add(to.Sub(from)/2))
}

func (s *session) showRequests(all caCertRequests) error {
	dir, out := s.String("dir"), s.String("out")
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the directory of the requests: %w", err)
		}
	}
	v := view{value: all, head: []string{"NODE", "VERSION", "SUBJECT", "FILE"}}
	for _, r := range all.Requests {
		file := out
		if dir != "" {
			file = filepath.Join(dir, r.Issuer+"-"+r.Node+".csr")
		}
		if file != "" {
			if err := s.write(file, []byte(r.PEM), 0o644); err != nil {
				return err
			}
		} else {
			v.text += r.PEM
		}
		v.add(r.Node, r.Node, number(r.Version), r.Subject, orDash(file))
	}
	for _, n := range all.Remaining {
		s.notef("remaining: %s: %s", n.Node, n.Why)
	}
	if len(all.Requests) == 0 {
		return fmt.Errorf("no node made a certificate request of %s: chancery issuer show %s", all.Issuer, all.Issuer)
	}
	if out == "-" {
		return nil // the request itself is the answer
	}
	return s.show(v)
}
