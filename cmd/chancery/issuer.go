package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func issuerCommand() *cli.Command {
	return group("issuer", "certificate authorities: a key pair and a CA certificate on each node",
		changing("create", "NAME", "make an issuer; without --parent, --root or --external its root NAME-root is made first", createIssuer, append([]cli.Flag{
			&cli.BoolFlag{Name: "root", Usage: "a root: one key pair, on one node, that signs its own certificate"},
			&cli.StringFlag{Name: "parent", Usage: "the issuer that signs its CA certificates"},
			&cli.BoolFlag{Name: "external", Usage: "its CA certificates come from a CA elsewhere: chancery issuer csr, then import"},
			&cli.StringFlag{Name: "node", Usage: "which node holds the root's key", DefaultText: "the first that signs"},
			&cli.StringFlag{Name: "alg", Usage: "ES256, ES384, RS256 or PS256", Value: string(lifecycle.ES256)},
			&cli.IntFlag{Name: "bits", Usage: "length of an RSA key: 3072 or 4096", DefaultText: "3072"},
			&cli.StringFlag{Name: "owner", Usage: "who answers for it, for example pki@example.com"},
			&cli.StringFlag{Name: "reason", Usage: "business reason, for example 'internal TLS'"},
			breakGlassFlag(),
		}, termFlags()...)...),
		changing("set", "NAME", "change what an issuer's next CA certificates, CRLs and OCSP answers are made by", setIssuer,
			append(append(governedFlags(), termFlags()...), publishFlags()...)...),
		looking("list", "", "list issuers", listIssuers, pageFlags()...),
		looking("show", "NAME", "an issuer and the CA certificates of its instances", showIssuer,
			&cli.StringFlag{Name: "roots", Usage: "write the roots, what verifiers load, to this file (PEM)"}),
		issuerCSRCommand(),
		changing("import", "NAME", "bring a CA certificate that a CA elsewhere made", importCACert, append(governedFlags(), whyFlag(),
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "the CA certificate (PEM), - for stdin; those above it may stand in the same file, the root too"})...),
		looking("affected", "NAME", "what has to be issued again when one node's instance is gone", listAffected, append(pageFlags(),
			&cli.StringFlag{Name: "node", Usage: "whose instance"})...),
	)
}

func createIssuer(s *session) error {
	name := s.arg(0)
	if err := lifecycle.CheckName("issuer", name); err != nil {
		return usagef("%v", err)
	}
	if s.String("owner") == "" || s.String("reason") == "" {
		return usagef("an issuer needs --owner and --reason, so that someone can answer for it")
	}
	terms, err := s.terms(lifecycle.NameConstraints{})
	if err != nil {
		return err
	}
	in := wire.CreateIssuer{Name: name, Kind: lifecycle.IssuingIssuer, Parent: s.String("parent"), Alg: s.String("alg"), Bits: s.Int("bits"), Node: s.String("node"),
		Owner: s.String("owner"), Reason: s.String("reason"),
		Terms: terms}
	switch {
	case s.Bool("root") && (in.Parent != "" || s.Bool("external")), in.Parent != "" && s.Bool("external"):
		return usagef("choose one of --root, --parent and --external")
	case s.Bool("root"):
		in.Kind = lifecycle.RootIssuer
	case s.Bool("external"):
		in.Kind = lifecycle.ExternalIssuer
	case in.Parent == "":
		in.Parent = name + "-root"
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	if in.Kind == lifecycle.IssuingIssuer && s.String("parent") == "" {
		// A root is not made for an issuer that is refused afterwards.
		full := terms.Over(lifecycle.DefaultIssuerTerms(in.Kind, name))
		if err := pki.CheckTerms(&full); err != nil {
			return err
		}
		if planned, err := s.createRoot(c, in); planned || err != nil {
			return err
		}
	}
	if in.Kind == lifecycle.RootIssuer {
		if in.Node, err = s.holder(c, in.Node); err != nil {
			return err
		}
	} else {
		in.Node = ""
	}
	op, err := c.CreateIssuer(s.ctx, in, s.waits(wire.Activated)...)
	return s.finish(op, err, wire.Activated)
}

// createRoot makes the root of an issuer that names no parent, unless it is there. A
// plan shows the root's instead: what is below it cannot be judged before it is there.
func (s *session) createRoot(c *client.Client, below wire.CreateIssuer) (planned bool, err error) {
	if _, err := c.Issuer(s.ctx, below.Parent); err == nil {
		return false, nil
	}
	node, err := s.holder(c, below.Node)
	if err != nil {
		return false, err
	}
	root := below
	root.Name, root.Kind, root.Parent, root.Node, root.Terms = below.Parent, lifecycle.RootIssuer, "", node, &wire.IssuerTerms{Organization: below.Terms.Organization}
	if below.Terms.CommonName != "" {
		root.Terms.CommonName = below.Terms.CommonName + " root"
	}
	if s.Bool("plan") {
		op, err := c.CreateIssuer(s.ctx, root, client.Plan())
		if err == nil {
			s.notef("root %s would be made on node %s, and %s below it", root.Name, node, below.Name)
		}
		return true, s.finish(op, err, wire.Activated)
	}
	if _, err := c.CreateIssuer(s.ctx, root); err != nil {
		return false, fmt.Errorf("make the root %s: %w", root.Name, err)
	}
	s.notef("root %s is made on node %s", root.Name, node)
	return false, nil
}

// holder is the node that is to hold a root.
func (s *session) holder(c *client.Client, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	l, err := c.Nodes(s.ctx)
	if err != nil {
		return "", err
	}
	for _, n := range l.Items {
		for _, role := range n.Roles {
			if role == "signer" {
				return n.Name, nil
			}
		}
	}
	return "", usagef("no node signs: chancery node promote NAME")
}

func listIssuers(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Issuer], error) { return c.Issuers(s.ctx, o...) })
	if err != nil {
		return err
	}
	v := view{value: l, wide: 6, head: []string{"NAME", "KIND", "PARENT", "CA CERTIFICATES", "ISSUED", "ON CRL", "ALG", "OWNER"}}
	for _, is := range l.Items {
		var certified, issued, listed uint64
		for _, i := range is.Instances {
			if i.Subject != "" {
				certified++
			}
			issued, listed = issued+i.Issued, listed+i.OnCRL
		}
		v.add(is.Name, is.Name, string(is.Kind), orDash(is.Parent), fmt.Sprintf("%d/%d", certified, len(is.Instances)), fmt.Sprint(issued), fmt.Sprint(listed), is.Alg, is.Owner)
	}
	return s.showPage(v, l.Next)
}

func showIssuer(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	is, err := c.Issuer(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	if f := s.String("roots"); f != "" {
		switch {
		case is.RootsPEM == "" && is.RootElsewhere != "":
			return fmt.Errorf("the root above issuer %s is %s, a CA elsewhere, and this cluster does not have its certificate: get it from whoever runs that CA; chancery issuer import %s with the CA certificate and those above it keeps it here too", is.Name, is.RootElsewhere, is.Name)
		case is.RootsPEM == "" && is.Kind == lifecycle.ExternalIssuer:
			return fmt.Errorf("issuer %s has no CA certificate that is believed: chancery issuer csr %s, then import", is.Name, is.Name)
		case is.RootsPEM == "":
			return fmt.Errorf("issuer %s has no CA certificate that is believed: a new one gets it in a moment, chancery status says what is in the way", is.Name)
		case is.RootElsewhere != "":
			s.notef("not among them: %s, a CA elsewhere", is.RootElsewhere)
		}
		if err := s.write(f, []byte(is.RootsPEM), 0o644); err != nil {
			return err
		}
	}
	v := view{value: is, names: []string{is.Name}}
	v.pair("issuer", is.Name)
	v.pair("kind", string(is.Kind))
	v.pair("parent", orDash(is.Parent))
	if is.RootElsewhere != "" {
		v.pair("root", is.RootElsewhere+", elsewhere")
	}
	v.pair("algorithm", is.Alg)
	v.pair("owner", is.Owner)
	v.pair("business reason", is.Reason)
	v.pair("CRL", fmt.Sprintf("every %s, valid %s", is.Terms.CRLEvery, is.Terms.CRLValid))
	for _, i := range is.Instances {
		text := "no CA certificate yet"
		if i.Subject != "" {
			text = fmt.Sprintf("%s until %s, %d issued, %d on CRL %d", i.Subject, when(i.NotAfter), i.Issued, i.OnCRL, i.CRLNumber)
		}
		if i.Revocation != nil {
			text += fmt.Sprintf(", revoked %s (%s)", when(i.Revocation.At), i.Revocation.Reason)
		}
		v.pair(fmt.Sprintf("%s version %d", i.Node, i.Version), text)
	}
	return s.show(v)
}

// maxImportBytes is a CA certificate and those above it, in PEM and with text around them.
const maxImportBytes = 128 << 10

func importCACert(s *session) error {
	if s.String("file") == "" {
		return usagef("chancery issuer import needs --file FILE")
	}
	b, err := s.read(s.String("file"), maxImportBytes)
	if err != nil {
		return err
	}
	return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.ImportCACert(s.ctx, s.arg(0), wire.ImportCACert{Certificate: string(b), Comment: s.String("comment")}, o...)
	})
}

func listAffected(s *session) error {
	if s.String("node") == "" {
		return usagef("chancery issuer affected needs --node NAME")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Certificate], error) {
		return c.Affected(s.ctx, s.arg(0), append(o, client.Query(wire.QueryNode, s.String("node")))...)
	})
	if err != nil {
		return err
	}
	v := view{value: l, wide: 7, head: []string{"SERIAL", "NAMES", "REQUESTER", "UNTIL", "ISSUE AGAIN BY", "STATUS", "SUCCESSOR", "PROFILE"}}
	for _, c := range l.Items {
		by := "-"
		if c.Reissue != nil {
			by = when(c.Reissue.By)
		}
		v.add(c.Serial, c.Serial, s.namesCell(&c), c.Requester, when(c.NotAfter), by, c.Status, orDash(string(c.ReplacedBy)), c.Profile)
	}
	return s.showPage(v, l.Next)
}

func profileCommand() *cli.Command {
	return group("profile", "what certificates of one kind look like, and who may have which names",
		looking("list", "", "list profiles", listProfiles, pageFlags()...),
		looking("show", "NAME", "show a profile", showProfile),
		changing("set", "NAME", "add a profile, or replace one", func(s *session) error {
			terms, err := s.profileFile()
			if err != nil {
				return err
			}
			return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.SetProfile(s.ctx, s.arg(0), wire.SetProfile{Terms: terms, Comment: s.String("comment")}, o...)
			})
		}, append(governedFlags(), whyFlag(), profileFileFlag())...),
		changing("drop", "NAME", "end a profile; a built-in one of its name counts again", func(s *session) error {
			return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.DropProfile(s.ctx, s.arg(0), wire.DropProfile{Comment: s.String("comment")}, o...)
			})
		}, append(governedFlags(), whyFlag())...),
		looking("check", "", "check a profile file without a cluster", func(s *session) error {
			terms, err := s.profileFile()
			if err != nil {
				return err
			}
			v := view{value: terms}
			v.pair("profile", "good")
			return s.show(v)
		}, profileFileFlag()),
	)
}

func profileFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "the profile (TOML), - for stdin"}
}

func (s *session) profileFile() (t lifecycle.ProfileTerms, err error) {
	if s.String("file") == "" {
		return t, usagef("--file is missing: the profile as TOML")
	}
	b, err := s.read(s.String("file"), pki.MaxProfileBytes)
	if err != nil {
		return t, err
	}
	return pki.ParseProfile(b)
}

func listProfiles(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Profile], error) { return c.Profiles(s.ctx, o...) })
	if err != nil {
		return err
	}
	v := view{value: l, head: []string{"NAME", "VERSION", "FOR", "KEYS", "LIFETIME", "AT MOST"}}
	for _, p := range l.Items {
		v.add(p.Name, p.Name, profileVersion(p), orDash(strings.Join(p.Terms.ExtendedUsage, " ")), strings.Join(p.Terms.Keys, " "), p.Terms.DefaultValidity.String(), p.Terms.MaxValidity.String())
	}
	return s.showPage(v, l.Next)
}

func profileVersion(p wire.Profile) string {
	if p.Builtin {
		return "built in"
	}
	return number(p.Version)
}

func showProfile(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	p, err := c.Profile(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	v := view{value: p, names: []string{p.Name}}
	v.pair("profile", p.Name)
	v.pair("version", profileVersion(*p))
	v.pair("usage", strings.Join(p.Terms.Usage, " "))
	v.pair("extended usage", orDash(strings.Join(p.Terms.ExtendedUsage, " ")))
	v.pair("keys", strings.Join(p.Terms.Keys, " "))
	v.pair("lifetime", fmt.Sprintf("%s, at most %s", p.Terms.DefaultValidity, p.Terms.MaxValidity))
	for _, r := range p.Terms.Names {
		v.pair("names of "+r.Requester, orDash(strings.Join(append(append(append(append([]string{}, r.DNS...), r.IPs...), r.URIs...), r.Emails...), " ")))
	}
	return s.show(v)
}
