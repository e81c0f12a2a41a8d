package main

import (
	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func tokenCommand() *cli.Command {
	return group("token", "bearer tokens of principals",
		changing("create", "PRINCIPAL", "make a token; its secret is printed once", createToken,
			&cli.StringFlag{Name: "ttl", Usage: "how long it is valid: 8h, 30d", DefaultText: "what the cluster gives"},
			&cli.StringFlag{Name: "label", Usage: "what it is for"},
			&cli.StringFlag{Name: "out", Usage: "new file of mode 0600 for the secret", DefaultText: "stdout"},
		),
		looking("list", "", "list tokens, without their secrets", listTokens,
			append(pageFlags(), &cli.StringFlag{Name: "principal", Usage: "only tokens of this principal"})...),
		changing("revoke", "ID", "end a token", func(s *session) error {
			return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.RevokeToken(s.ctx, s.arg(0), o...)
			})
		}, fenceFlag()),
	)
}

func createToken(s *session) error {
	req := wire.CreateToken{Principal: s.arg(0), Label: s.String("label")}
	if ttl := s.String("ttl"); ttl != "" {
		if err := req.TTL.UnmarshalText([]byte(ttl)); err != nil {
			return usagef("--ttl: %v", err)
		}
	}
	if s.Bool("plan") {
		return usagef("a token is made or not: there is nothing to plan")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	file, err := newSecretFile(s.String("out"))
	if err != nil {
		return err
	}
	defer file.close()
	t, err := c.CreateToken(s.ctx, req, s.changes()...)
	if err != nil {
		return err
	}
	if t.Secret == "" {
		return wire.Errorf(wire.RequestIDReused, "token %s was made by this request before; its secret is not kept anywhere", t.ID).
			WithHint("chancery token revoke %s, then create another", t.ID)
	}
	if file != nil {
		if err := file.write(t.Secret, "chancery token revoke "+t.ID+", then create another"); err != nil {
			return err
		}
		t.Secret = ""
	}
	if s.format == formatJSON || s.format == formatYAML {
		return s.show(view{value: t})
	}
	s.notef("token %s of %s, valid until %s", t.ID, t.Principal, when(t.ExpiresAt))
	if t.Secret == "" {
		return nil
	}
	return s.write("", []byte(t.Secret+"\n"), secretMode)
}

func listTokens(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Token], error) {
		return c.Tokens(s.ctx, append(o, client.Query(wire.QueryActor, s.String("principal")))...)
	})
	if err != nil {
		return err
	}
	v := view{value: l, head: []string{"ID", "PRINCIPAL", "LABEL", "EXPIRES", "STATE", "CREATED", "BY"}}
	for _, t := range l.Items {
		v.add(t.ID, t.ID, t.Principal, t.Label, when(t.ExpiresAt), revokedText(t.RevokedAt), when(t.Created.At), t.Created.By)
	}
	return s.showPage(v, l.Next)
}
