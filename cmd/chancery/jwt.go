package main

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func jwtCommand() *cli.Command {
	return group("jwt", "tokens",
		looking("sign", "KEY", "make a token from claims", signJWT,
			&cli.StringFlag{Name: "claims", Usage: "JSON file with the claims, - for stdin"},
			&cli.StringFlag{Name: "ttl", Usage: "how long it is valid: 5m", DefaultText: "what the claims or the policy say"},
			&cli.StringFlag{Name: "typ", Usage: "typ header", DefaultText: "the first that the policy allows"},
		),
		looking("verify", "[TOKEN]", "check a token, from the argument or from stdin", verifyJWT,
			&cli.StringFlag{Name: "key", Usage: "ask the cluster, about this key"},
			&cli.StringFlag{Name: "jwks", Usage: "ask nobody: file with the trust set"},
		),
	)
}

func signJWT(s *session) error {
	if s.String("claims") == "" {
		return usagef("chancery jwt sign needs --claims FILE, or --claims - for stdin")
	}
	claims, err := s.read(s.String("claims"), wire.MaxTokenBytes)
	if err != nil {
		return err
	}
	if !json.Valid(claims) {
		return wire.Errorf(wire.Malformed, "the claims are not JSON")
	}
	req := wire.JWTRequest{Claims: claims, Type: s.String("typ")}
	if ttl := s.String("ttl"); ttl != "" {
		if err := req.TTL.UnmarshalText([]byte(ttl)); err != nil {
			return usagef("--ttl: %v", err)
		}
		if req.TTL < lifecycle.Second {
			return usagef("--ttl %s is too short", ttl)
		}
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	t, err := c.SignJWT(s.ctx, s.arg(0), req, s.changes()...)
	if err != nil {
		return err
	}
	if s.format == formatTable || s.format == formatWide {
		s.notef("signed by %s version %d on %s, kid %s, valid until %s%s", t.Key, t.Version, t.Node, t.KID, when(t.ExpiresAt), recordedAt(t.RecordIndex))
	}
	return s.show(view{value: t, names: []string{t.Token}, text: t.Token + "\n", rows: [][]string{{"token", t.Token}, {"kid", t.KID}, {"expires_at", when(t.ExpiresAt)}}})
}

func verifyJWT(s *session) error {
	if (s.String("key") == "") == (s.String("jwks") == "") {
		return usagef("chancery jwt verify needs --key KEY or --jwks FILE, one of them")
	}
	token := s.arg(0)
	if token == "" || token == "-" {
		b, err := s.read("-", wire.MaxTokenBytes)
		if err != nil {
			return err
		}
		token = string(b)
	}
	if token = strings.TrimSpace(token); token == "" {
		return usagef("no token: give it as an argument or on stdin")
	}
	if s.String("key") != "" {
		c, err := s.client()
		if err != nil {
			return err
		}
		r, err := c.Verify(s.ctx, s.String("key"), wire.VerifyRequest{Token: token})
		if err != nil {
			return err
		}
		return verdict(s, r)
	}
	set, err := readKeySet(s, s.String("jwks"))
	if err != nil {
		return err
	}
	claims, err := set.VerifyJWT(token, time.Now())
	if err != nil {
		return failedf("the token is not good: %v", err)
	}
	return s.show(view{
		value: map[string]any{"valid": true, "kid": claims.KID, "typ": claims.Type, "claims": claims.Payload},
		names: []string{claims.KID},
		rows:  [][]string{{"token", "valid"}, {"kid", claims.KID}, {"typ", claims.Type}, {"claims", string(claims.Payload)}},
	})
}
