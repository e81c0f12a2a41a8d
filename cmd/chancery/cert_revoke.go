package main

import (
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// oneIssuer finds the serials of arguments, and the issuer that all of them have.
func (s *session) oneIssuer(c *client.Client) (issuer string, serials []string, err error) {
	for _, arg := range s.Args().Slice() {
		serial, err := s.serialOf(arg)
		if err != nil {
			return "", nil, err
		}
		row, err := c.Certificate(s.ctx, serial)
		if err != nil {
			return "", nil, err
		}
		if issuer != "" && issuer != row.Issuer {
			return "", nil, usagef("certificates of %s and of %s: revoke them issuer by issuer, or all at once with --file", issuer, row.Issuer)
		}
		issuer, serials = row.Issuer, append(serials, serial)
	}
	if len(serials) == 0 {
		return "", nil, usagef("name at least one certificate, by serial or file")
	}
	return issuer, serials, nil
}

func revokeCerts(s *session) error {
	reason, err := lifecycle.ParseReason(s.String("reason"))
	if err != nil {
		return usagef("--reason: %v", err)
	}
	many, err := wantsBulk(s)
	if err != nil {
		return err
	}
	in := wire.RevokeCertificates{Reason: reason, Comment: s.String("comment")}
	if text := s.String("invalid-since"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return usagef("--invalid-since: %v", err)
		}
		in.InvalidityAt = wire.AsTime(at)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	if many {
		return s.revokeMany(c, in)
	}
	if in.Issuer, in.Serials, err = s.oneIssuer(c); err != nil {
		return err
	}
	op, err := c.RevokeCertificates(s.ctx, in, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}

func releaseCerts(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	in := wire.ReleaseCertificates{Comment: s.String("comment")}
	if in.Issuer, in.Serials, err = s.oneIssuer(c); err != nil {
		return err
	}
	op, err := c.ReleaseCertificates(s.ctx, in, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}
