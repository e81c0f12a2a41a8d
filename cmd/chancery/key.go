package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func keyCommand() *cli.Command {
	return group("key", "keys: what they are for, their versions, their life",
		createKeyCommand(), listKeysCommand(),
		looking("show", "NAME", "show a key with its versions and instances", showKey),
		looking("versions", "NAME", "list the versions of a key, newest first", listVersions),
		keyStatusCommand(),
		looking("history", "NAME", "what happened to a key, oldest first", keyHistory, pageFlags()...),
		exportKeyCommand(), policyCommand(), confirmKeyCommand(),
		rotateCommand(), activateCommand(),
		stoppingVerb("suspend", "stop a version from signing until it is resumed", (*client.Client).Suspend),
		versionVerb("resume", "end a suspension", (*client.Client).Resume),
		stoppingVerb("deactivate", "end the signing life of a version; what it signed still verifies", (*client.Client).Deactivate),
		revokeCommand(), destroyCommand(), replaceCommand(),
	)
}

func createKeyCommand() *cli.Command {
	return changing("create", "NAME", "make a key with its first version", createKey,
		&cli.StringFlag{Name: "purpose", Usage: "code, token, assertion, artifact, certificate or status"},
		&cli.StringFlag{Name: "alg", Value: string(lifecycle.ES256), Usage: "ES256, ES384, EdDSA, RS256 or PS256"},
		&cli.IntFlag{Name: "bits", Usage: "RSA modulus, 2048 to 4096", DefaultText: "3072"},
		&cli.StringFlag{Name: "owner", Usage: "who answers for the key"},
		&cli.StringFlag{Name: "reason", Usage: "the business reason"},
		&cli.StringFlag{Name: "custody", Usage: "distributed (a key pair on each node) or singleton (with --node)"},
		&cli.StringFlag{Name: "node", Usage: "the one node of a singleton key"},
		&cli.StringSliceFlag{Name: "label", Usage: "k=v, may be repeated"},
		&cli.StringFlag{Name: "policy", Usage: "JSON or TOML file with what differs from the default policy"},
		&cli.BoolFlag{Name: "if-absent", Usage: "succeed when the key exists with the same purpose and algorithm"},
		&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until the first version is active"},
	)
}

func createKey(s *session) error {
	k := wire.CreateKey{
		Name: s.arg(0), Purpose: lifecycle.Purpose(s.String("purpose")), Alg: lifecycle.Algorithm(s.String("alg")), Bits: s.Int("bits"),
		Custody: lifecycle.Custody(s.String("custody")), Node: s.String("node"), Owner: s.String("owner"), BusinessReason: s.String("reason"),
	}
	if err := checkNewKey(&k); err != nil {
		return err
	}
	var err error
	if k.Labels, err = labels(s.StringSlice("label")); err != nil {
		return err
	}
	if k.Policy, err = readPolicy(s.String("policy")); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	level := wire.Activated
	if s.Bool("no-wait") {
		level = ""
	}
	op, err := c.CreateKey(s.ctx, k, s.waits(level)...)
	if wire.CodeOf(err) == wire.AlreadyExists && s.Bool("if-absent") {
		return sameKey(s, c, k)
	}
	return s.finish(op, err, level)
}

// checkNewKey says what is missing before anything is sent.
func checkNewKey(k *wire.CreateKey) error {
	if err := lifecycle.CheckName("key", k.Name); err != nil {
		return usagef("%v", err)
	}
	if _, err := lifecycle.ParsePurpose(string(k.Purpose)); err != nil {
		return usagef("--purpose: %v", err)
	}
	if k.Alg.IsRSA() && k.Bits == 0 {
		k.Bits = lifecycle.DefaultRSABits
	}
	if err := lifecycle.CheckAlgorithm(k.Alg, k.Bits); err != nil {
		return usagef("--alg: %v", err)
	}
	if k.Owner == "" || k.BusinessReason == "" {
		return usagef("a key needs --owner and --reason, so that someone can answer for it: --owner team@example.com --reason 'sign release tarballs'")
	}
	if (k.Custody == lifecycle.Singleton) != (k.Node != "") {
		return usagef("--custody singleton and --node go together")
	}
	return nil
}

// sameKey is --if-absent: the key that is there must be the one that was meant.
func sameKey(s *session, c *client.Client, want wire.CreateKey) error {
	k, err := c.Key(s.ctx, want.Name)
	if err != nil {
		return err
	}
	if k.Purpose != want.Purpose || k.Alg != want.Alg || k.Bits != want.Bits {
		return wire.Errorf(wire.AlreadyExists, "key %s exists, as %s with %s: names are never reused", k.Name, k.Purpose, k.Alg).WithHint("choose another name")
	}
	s.notef("key %s exists", k.Name)
	return s.show(keyView(k))
}

func listKeysCommand() *cli.Command {
	return looking("list", "", "list keys", func(s *session) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		l, err := pages(s, func(o ...client.Option) (wire.List[wire.KeySummary], error) {
			return c.Keys(s.ctx, append(o, client.Query(wire.QuerySelector, s.String("selector")), client.Query(wire.QueryPurpose, s.String("purpose")),
				client.Query(wire.QueryState, s.String("state")), client.Query(wire.QueryOwner, s.String("owner")))...)
		})
		if err != nil {
			return err
		}
		v := view{value: l, wide: 7, head: []string{"NAME", "PURPOSE", "ALG", "VERSION", "STATE", "INSTANCES", "OWNER", "CUSTODY", "ACTIVATED", "OVERDUE", "LABELS"}}
		for _, k := range l.Items {
			v.add(k.Name, k.Name, string(k.Purpose), string(k.Alg), number(k.ActiveVersion), k.State.String(), fmt.Sprintf("%d/%d", k.InstancesOK, k.Instances),
				k.Owner, string(k.Custody), when(k.ActivatedAt), yesNo(k.Overdue), labelText(k.Labels))
		}
		return s.showPage(v, l.Next)
	}, append(pageFlags(),
		&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: "labels: team=rel,tier!=dev"},
		&cli.StringFlag{Name: "purpose", Usage: "only this purpose"},
		&cli.StringFlag{Name: "state", Usage: "only keys whose active or newest version is in this state"},
		&cli.StringFlag{Name: "owner", Usage: "only keys of this owner"},
	)...)
}

func showKey(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	k, err := c.Key(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	return s.show(keyView(k))
}

func keyView(k *wire.Key) view {
	v := view{value: k, names: []string{k.Name}}
	alg := string(k.Alg)
	if k.Bits > 0 {
		alg += fmt.Sprintf(" (%d bits)", k.Bits)
	}
	v.pair("key", k.Name)
	v.pair("purpose", string(k.Purpose))
	v.pair("algorithm", alg)
	v.pair("custody", strings.TrimSpace(string(k.Custody)+" "+k.Node))
	v.pair("owner", k.Owner)
	v.pair("business reason", k.BusinessReason)
	v.pair("labels", labelText(k.Labels))
	v.pair("created", when(k.Created.At)+" by "+k.Created.By)
	v.pair("active version", number(k.ActiveVersion))
	v.pair("trust set", fmt.Sprintf("%s, cached for at most %d s", k.TrustSet.Digest, k.TrustSet.MaxAgeSeconds))
	v.pair("published at", k.TrustSet.URL)
	if k.Rotation != nil {
		rotationPairs(&v, k.Rotation)
	}
	for _, ver := range k.Versions {
		v.pair(fmt.Sprintf("version %d", ver.Version), versionText(&ver))
		for _, i := range ver.Instances {
			v.pair("  on "+i.Node, fmt.Sprintf("%s %s, %d signatures", orDash(short(string(i.KID))), conditionText(&i), i.Signatures))
		}
	}
	return v
}

func versionText(v *wire.Version) string {
	s := fmt.Sprintf("%s since %s", v.State, when(v.Since))
	if v.InTrustSet {
		s += ", in the trust set"
	}
	if v.Emergency {
		s += ", made by an emergency"
	}
	if v.Revocation != nil {
		s += fmt.Sprintf(", revoked by %s (%s)", v.Revocation.By, v.Revocation.Reason)
	}
	if v.DestroyAt != 0 {
		s += ", to be destroyed after " + when(v.DestroyAt)
	}
	return s
}

func conditionText(i *wire.Instance) string {
	s := i.Condition.String()
	if i.Condition == lifecycle.Ready && !i.MaySign {
		s += " (does not sign)"
	}
	if i.Detail != "" {
		s += ": " + i.Detail
	}
	return s
}

func listVersions(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := c.Versions(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	v := view{value: l, wide: 6, head: []string{"VERSION", "STATE", "SINCE", "TRUSTED", "NODE", "KID", "CONDITION", "DRIVER", "CKA_ID", "SIGNATURES"}}
	for _, ver := range l.Items {
		if len(ver.Instances) == 0 {
			v.add(number(ver.Version), number(ver.Version), ver.State.String(), when(ver.Since), yesNo(ver.InTrustSet))
		}
		for _, i := range ver.Instances {
			v.rows = append(v.rows, []string{number(ver.Version), ver.State.String(), when(ver.Since), yesNo(ver.InTrustSet), i.Node, orDash(short(string(i.KID))),
				i.Condition.String(), string(i.Driver), i.CKAID, fmt.Sprint(i.Signatures)})
			v.names = append(v.names, string(i.KID))
		}
	}
	return s.show(v)
}

func keyHistory(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Event], error) { return c.History(s.ctx, s.arg(0), o...) })
	if err != nil {
		return err
	}
	return s.showPage(eventsView(l, l.Items), l.Next)
}

func eventsView(value any, items []wire.Event) view {
	v := view{value: value, wide: 7, head: []string{"AT", "KIND", "SUBJECT", "NODE", "BY", "CHANGE", "REASON", "ID", "KID", "REQUEST", "DETAIL"}}
	for _, e := range items {
		v.add(e.ID, eventCells(&e)...)
	}
	return v
}

func eventCells(e *wire.Event) []string {
	subject := string(e.Key)
	if e.Version > 0 {
		subject += "/" + number(uint64(e.Version))
	}
	change := ""
	if e.Before != "" || e.After != "" {
		change = orDash(string(e.Before)) + " -> " + orDash(string(e.After))
	}
	if nodes, ok := e.Data["nodes"].([]any); ok && change == "" {
		change = endsText(nodes)
	}
	return []string{when(e.At), e.Kind, subject, short(string(e.Node)), e.Actor, change, string(e.Reason), e.ID, short(string(e.KID)), string(e.RequestID), e.Detail}
}

// endsText says how a right ended on each node: "n1 acked, n3 lease_expired".
func endsText(nodes []any) string {
	var parts []string
	for _, n := range nodes {
		if m, ok := n.(map[string]any); ok {
			parts = append(parts, fmt.Sprintf("%v %v", m["node"], m["outcome"]))
		}
	}
	return strings.Join(parts, ", ")
}

func exportKeyCommand() *cli.Command {
	return looking("export", "NAME", "print public keys: the trust set, or what --version, --kid or --node choose", exportKey,
		&cli.StringFlag{Name: "format", Value: "pem", Usage: "pem, der, jwks or ssh"},
		&cli.Uint64Flag{Name: "version", Usage: "only this version"},
		&cli.StringFlag{Name: "kid", Usage: "only this instance; 8 characters will do"},
		&cli.StringFlag{Name: "node", Usage: "only this node's instances"},
		&cli.StringFlag{Name: "out", Usage: "file to write", DefaultText: "stdout"},
	)
}

func exportKey(s *session) error {
	format := s.String("format")
	if !slices.Contains([]string{"pem", "der", "jwks", "ssh"}, format) {
		return usagef("unknown format %q: choose pem, der, jwks or ssh", format)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	version := ""
	if n := s.Uint64("version"); n > 0 {
		version = number(n)
	}
	b, err := c.Export(s.ctx, s.arg(0), client.Query(wire.QueryFormat, format), client.Query(wire.QueryVersion, version),
		client.Query(wire.QueryKID, s.String("kid")), client.Query(wire.QueryNode, s.String("node")))
	if err != nil {
		return err
	}
	return s.write(s.String("out"), b, 0o644)
}
