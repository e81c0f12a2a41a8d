package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/transport/wire"
)

func authCommand() *cli.Command {
	return group("auth", "who you are taken for, and what you may do",
		looking("whoami", "", "show who you are taken for", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			w, err := c.WhoAmI(s.ctx)
			if err != nil {
				return err
			}
			v := view{value: w, names: []string{w.Principal}}
			v.pair("principal", w.Principal)
			v.pair("kind", string(w.Kind))
			v.pair("roles", strings.Join(w.Roles, " "))
			v.pair("by", strings.TrimSpace(w.Via+" "+string(w.TokenID)))
			v.pair("until", when(w.ExpiresAt))
			v.pair("cluster", w.Cluster)
			v.pair("node", w.Node)
			return s.show(v)
		}),
		looking("can-i", "VERB [KEY]", "ask whether you may: chancery auth can-i sign ci (exit code 1 says no)", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			d, err := c.CanI(s.ctx, wire.CanI{Verb: s.arg(0), Key: s.arg(1)})
			if err != nil {
				return err
			}
			v := view{value: d, names: []string{yesNo(d.Allowed)}}
			v.pair("allowed", yesNo(d.Allowed))
			v.pair("by", string(d.Grant))
			v.pair("why", d.Why)
			if d.Allowed {
				return s.show(v)
			}
			return errors.Join(s.show(v), wire.Errorf(wire.Denied, "no: %s", d.Why))
		}),
	)
}
