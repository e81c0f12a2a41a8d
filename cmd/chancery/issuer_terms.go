package main

import (
	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func durationFlag(name, usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Usage: usage + ", for example 24h or 30d"}
}

// length reads a flag of durationFlag, 0 when it is not given.
func (s *session) length(name string) (d lifecycle.Milliseconds, err error) {
	text := s.String(name)
	if text == "" {
		return 0, nil
	}
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return 0, usagef("--%s: %v", name, err)
	}
	return d, nil
}

// termFlags are what CA certificates are made by.
func termFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cn", Usage: "common name, for example 'corp issuing'; a new issuer's is its name; instances get their short kid behind it"},
		&cli.StringFlag{Name: "organization", Usage: "of the subject, for example 'Example Ltd'"},
		&cli.IntFlag{Name: "path-len", Usage: "how many CA certificates may follow in a chain; a new root's is 1, of others 0"},
		&cli.StringSliceFlag{Name: "permit-dns", Usage: "name constraint: a domain its certificates may be for, with all under it, for example corp.test; may be repeated"},
		&cli.StringSliceFlag{Name: "permit-ip", Usage: "name constraint: a range of addresses, for example 10.0.0.0/8; may be repeated"},
		durationFlag("validity", "how long its CA certificates live"),
	}
}

// publishFlags are what CRLs and OCSP answers are made by.
func publishFlags() []cli.Flag {
	return []cli.Flag{
		durationFlag("crl-every", "a CRL is signed again this often when nothing was revoked"),
		durationFlag("crl-valid", "how long a CRL is believed; at least twice --crl-every"),
		durationFlag("ocsp-valid", "how long an OCSP answer is believed"),
		&cli.BoolFlag{Name: "shard-crl", Usage: "publish the CRL in parts too, beside the full one; --shard-crl=false ends that"},
	}
}

// terms are those that were given; a list of names takes the place of the one there is,
// and an empty one (”) ends the constraint.
func (s *session) terms(names lifecycle.NameConstraints) (t *wire.IssuerTerms, err error) {
	t = &wire.IssuerTerms{CommonName: s.String("cn"), Organization: s.String("organization")}
	for _, d := range []struct {
		flag string
		to   *lifecycle.Milliseconds
	}{{"validity", &t.CAValidity}, {"crl-every", &t.CRLEvery}, {"crl-valid", &t.CRLValid}, {"ocsp-valid", &t.OCSPValid}} {
		if *d.to, err = s.length(d.flag); err != nil {
			return nil, err
		}
	}
	for _, l := range []struct {
		flag string
		to   *[]string
	}{{"permit-dns", &names.PermittedDNS}, {"permit-ip", &names.PermittedIPs}} {
		if !s.IsSet(l.flag) {
			continue
		}
		t.Names, *l.to = &names, nil
		for _, n := range s.StringSlice(l.flag) {
			if n != "" {
				*l.to = append(*l.to, n)
			}
		}
	}
	if s.IsSet("path-len") {
		n := s.Int("path-len")
		t.PathLen = &n
	}
	if s.IsSet("shard-crl") {
		b := s.Bool("shard-crl")
		t.ShardCRL = &b
	}
	return t, nil
}

func setIssuer(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	is, err := c.Issuer(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	terms, err := s.terms(is.Terms.Names)
	if err != nil {
		return err
	}
	if *terms == (wire.IssuerTerms{}) {
		return usagef("say what to change: chancery issuer set --help")
	}
	return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.SetIssuer(s.ctx, is.Name, *terms, o...)
	})
}
