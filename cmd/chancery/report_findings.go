package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func reportRotationCommand() *cli.Command {
	return looking("rotation", "", "keys outside their policy, without owner or purpose, and the control each finding speaks to", func(s *session) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		all := new(wire.RotationReport)
		l, err := pages(s, func(o ...client.Option) (wire.List[wire.KeyFindings], error) {
			r, err := c.RotationReport(s.ctx, o...)
			if err != nil {
				return wire.List[wire.KeyFindings]{}, err
			}
			if r.Totals != nil {
				all.Totals = r.Totals
			}
			return wire.List[wire.KeyFindings]{Items: r.Items, Next: r.Next, Position: r.Position, AsOf: r.AsOf}, nil
		})
		if err != nil {
			return err
		}
		all.Items, all.Next, all.Position, all.AsOf = l.Items, l.Next, l.Position, l.AsOf
		v := view{value: all, wide: 5, head: []string{"KEY", "OWNER", "SEVERITY", "FINDING", "MESSAGE", "ACTIVATED", "DUE", "LAST USED", "SIGNATURES", "HINT", "CONTROLS"}}
		for _, k := range l.Items {
			for _, f := range k.Findings {
				v.add(k.Key, k.Key, k.Owner, f.Severity, f.Code, f.Message, when(k.ActivatedAt), when(k.DueAt), when(k.LastUsedAt), number(k.Signatures), f.Hint, strings.Join(f.Controls, "; "))
			}
		}
		if t := all.Totals; t != nil {
			s.notef("%d keys, %s%% inside their policy; %d have ended", t.Keys, fmt.Sprintf("%.1f", t.WithinPolicyPerc), t.Ended)
		}
		return s.showPage(v, l.Next)
	}, pageFlags()...)
}

func reportDependentsCommand() *cli.Command {
	return looking("dependents", "NAME", "who verifies and who signs with a key, and what would happen to them", func(s *session) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		l, err := c.Dependents(s.ctx, s.arg(0))
		if err != nil {
			return err
		}
		v := view{value: l, wide: 6, head: []string{"KIND", "NAME", "CLASS", "OWNER", "HAVE", "LAST SEEN", "CONTACT", "EFFECT", "FINDINGS", "CONTROLS"}}
		for _, d := range l.Items {
			var codes, controls []string
			for _, f := range d.Findings {
				codes, controls = append(codes, f.Code), append(controls, f.Controls...)
			}
			have := "-"
			if d.Expect > 0 {
				have = fmt.Sprintf("%d/%d", d.Have, d.Expect)
			}
			v.add(d.Name, d.Kind, d.Name, orDash(d.Class), orDash(d.Owner), have, when(d.LastSeenAt), orDash(d.Contact), d.Effect, strings.Join(codes, "; "), strings.Join(controls, "; "))
		}
		return s.show(v)
	})
}
