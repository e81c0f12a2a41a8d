package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func principalCommand() *cli.Command {
	return group("principal", "whoever calls: people and services, and their roles",
		changing("add", "NAME", "add a principal", addPrincipal, append(rearrangeFlags(),
			&cli.StringFlag{Name: "kind", Usage: "person or service", DefaultText: "person with --ssh-key, else service"},
			&cli.StringSliceFlag{Name: "role", Usage: "role:key-pattern, may be repeated: signer:ci-*"},
			&cli.StringSliceFlag{Name: "ssh-key", Usage: "public SSH key file, for login and approvals; may be repeated"},
			&cli.StringSliceFlag{Name: "cert-of", Usage: "client certificate file (PEM) or hex SHA-256 of its public key; may be repeated"},
			&cli.BoolFlag{Name: "replace", Usage: "give an existing principal these roles and keys instead; what it loses is fenced"}, whyFlag(),
		)...),
		looking("list", "", "list principals", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			l, err := pages(s, func(o ...client.Option) (wire.List[wire.Principal], error) { return c.Principals(s.ctx, o...) })
			if err != nil {
				return err
			}
			v := view{value: l, wide: 4, head: []string{"NAME", "KIND", "ROLES", "STATE", "TOKENS", "SSH KEYS", "CERTS", "CREATED"}}
			for _, p := range l.Items {
				v.add(p.Name, p.Name, string(p.Kind), strings.Join(p.Roles, " "), revokedText(p.RevokedAt), fmt.Sprint(p.Tokens), fmt.Sprint(len(p.SSHKeys)),
					fmt.Sprint(len(p.Certs)), when(p.Created.At))
			}
			return s.showPage(v, l.Next)
		}, pageFlags()...),
		looking("show", "NAME", "show a principal", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			p, err := c.Principal(s.ctx, s.arg(0))
			if err != nil {
				return err
			}
			v := view{value: p, names: []string{p.Name}}
			v.pair("principal", p.Name)
			v.pair("kind", string(p.Kind))
			v.pair("state", revokedText(p.RevokedAt))
			for _, r := range p.Roles {
				v.pair("role", r)
			}
			for _, k := range p.SSHKeys {
				v.pair("ssh key", k)
			}
			for _, k := range p.Certs {
				v.pair("certificate", k)
			}
			v.pair("live tokens", fmt.Sprint(p.Tokens))
			v.pair("created", when(p.Created.At)+" by "+p.Created.By)
			return s.show(v)
		}),
		changing("revoke", "NAME", "end a principal and its tokens, for ever", func(s *session) error {
			return s.rearrange(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.RevokePrincipal(s.ctx, s.arg(0), o...)
			})
		}, rearrangeFlags()...),
	)
}

func revokedText(at wire.Time) string {
	if at == 0 {
		return "live"
	}
	return "revoked " + when(at)
}

func addPrincipal(s *session) error {
	p := wire.AddPrincipal{Name: s.arg(0), Comment: s.String("comment"), Kind: lifecycle.PrincipalKind(s.String("kind")), Roles: s.StringSlice("role"), Replace: s.Bool("replace")}
	if err := lifecycle.CheckName("principal", p.Name); err != nil {
		return usagef("%v", err)
	}
	for _, r := range p.Roles {
		if _, err := lifecycle.ParseGrant(r); err != nil {
			return usagef("--role %s: %v", r, err)
		}
	}
	for _, f := range s.StringSlice("ssh-key") {
		lines, err := sshKeyLines(s, f)
		if err != nil {
			return err
		}
		p.SSHKeys = append(p.SSHKeys, lines...)
	}
	for _, f := range s.StringSlice("cert-of") {
		hash, err := certHash(s, f)
		if err != nil {
			return err
		}
		p.Certs = append(p.Certs, hash)
	}
	if p.Kind == "" {
		if p.Kind = lifecycle.Service; len(p.SSHKeys) > 0 {
			p.Kind = lifecycle.Person
		}
	}
	return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.AddPrincipal(s.ctx, p, o...)
	})
}

// sshKeyLines reads public keys: one authorized_keys line each. A private key is
// refused before anybody has sent it anywhere.
func sshKeyLines(s *session, file string) ([]string, error) {
	b, err := s.read(file, maxSSHFile)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(b), "PRIVATE KEY") {
		return nil, usagef("%s is a private key: give its .pub file", file)
	}
	var out []string
	for _, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil, usagef("%s holds no public key", file)
	}
	return out, nil
}

const maxSSHFile = 64 << 10

// certHash is the SHA-256 of a certificate's public key, from a file or as given.
func certHash(s *session, word string) (string, error) {
	if raw, err := hex.DecodeString(word); err == nil && len(raw) == sha256.Size {
		return strings.ToLower(word), nil
	}
	b, err := s.read(word, maxSSHFile)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", usagef("%s holds no PEM certificate", word)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", usagef("%s: %v", word, err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}
