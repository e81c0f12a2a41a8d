package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func consumerCommand() *cli.Command {
	return group("consumer", "verifiers, and which public keys they have loaded",
		changing("register", "NAME", "register a verifier; prints a one-time enrolment token", registerConsumer, append(governedFlags(),
			&cli.StringFlag{Name: "owner", Usage: "who answers for it"},
			&cli.StringFlag{Name: "contact", Usage: "where to ask when it is behind"},
			&cli.StringFlag{Name: "class", Usage: "required: rotations wait for it; advisory; observer", DefaultText: "required"},
			&cli.IntFlag{Name: "expect", Usage: "instances that must confirm", DefaultText: "1"},
			&cli.StringSliceFlag{Name: "key", Usage: "key that it trusts; may be repeated"},
			&cli.StringFlag{Name: "lifetime", Usage: "of a confirmation: 12h", DefaultText: "24h"},
			&cli.StringFlag{Name: "out", Usage: "`FILE` for the enrolment token, mode 0600", DefaultText: "stdout"},
			&cli.BoolFlag{Name: "replace", Usage: "change what is registered: flags that are left out stay as they are"},
			&cli.BoolFlag{Name: "again", Usage: "as --replace, with another enrolment token"},
		)...),
		looking("list", "", "list verifiers, and who fetches keys without being registered", listConsumers, append(pageFlags(),
			&cli.StringFlag{Name: "key", Usage: "only those that trust this key"})...),
		looking("show", "NAME", "show a verifier and what its instances have confirmed", showConsumer),
		changing("enrol", "NAME", "trade an enrolment token for the verifier's own token, on its machine", enrolConsumer,
			&cli.StringFlag{Name: "enrolment", Usage: "`FILE` with the enrolment token; - is stdin", Value: "-"},
			&cli.StringFlag{Name: "out", Usage: "`FILE` for the token, mode 0600: what --token-file wants", Required: true},
			&cli.StringFlag{Name: "label", Usage: "of the token", DefaultText: "the host name"}),
		looking("confirm", "NAME", "say, with a proof, that an instance has loaded the keys in a file", confirmConsumer, append(instanceFlags(),
			&cli.StringFlag{Name: "jwks", Usage: "`FILE` with the trust set as it was fetched", Required: true})...),
		looking("run", "NAME", "keep a file at a key's trust set, reload whoever reads it, and confirm", runConsumer, append(instanceFlags(), runFlags()...)...),
		changing("retire", "NAME", "end a verifier: nothing waits for it any more", func(s *session) error {
			return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
				return c.RetireConsumer(s.ctx, s.arg(0), wire.RetireConsumer{Comment: s.String("comment")}, o...)
			})
		}, append(governedFlags(), commentFlag())...),
		changing("waive", "NAME", "let one gate of one version pass without a verifier", waiveConsumer, append(governedFlags(), commentFlag(),
			&cli.StringFlag{Name: "key", Required: true, Usage: "key whose rotation waits"},
			&cli.Uint64Flag{Name: "version", Required: true, Usage: "version that waits"},
			&cli.StringFlag{Name: "gate", Value: string(lifecycle.GateActivate), Usage: "activate or withdraw"},
			&cli.StringFlag{Name: "for", Usage: "how long the waiver stands: 2d", DefaultText: "7d"})...),
	)
}

func instanceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "key", Usage: "key whose trust set it is", DefaultText: "the only one of the consumer"},
		&cli.StringFlag{Name: "instance", Usage: "label of this instance", DefaultText: "the host name"},
	}
}

func registerConsumer(s *session) error {
	r := wire.RegisterConsumer{Name: s.arg(0), Owner: s.String("owner"), Contact: s.String("contact"), Class: lifecycle.ConsumerClass(s.String("class")),
		Expect: s.Int("expect"), Keys: s.StringSlice("key"), Enrol: s.Bool("again")}
	change := s.Bool("replace") || r.Enrol
	if text := s.String("lifetime"); text != "" {
		if err := r.Lifetime.UnmarshalText([]byte(text)); err != nil {
			return usagef("--lifetime: %v", err)
		}
	}
	if !change && (r.Owner == "" || len(r.Keys) == 0) {
		return usagef("a consumer needs --owner and --key, so that somebody can be asked when it is behind: --owner team@example.com --key ci")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	opts := s.waits(s.String("wait"))
	if err := checkLevel(s.String("wait"), governedLevels...); err != nil {
		return err
	}
	file, err := newSecretFile(s.String("out"))
	if err != nil {
		return err
	}
	defer file.close()
	var reg *wire.ConsumerRegistration
	if change {
		now, err := c.Consumer(s.ctx, r.Name, client.Consistency(wire.Linearizable))
		if err != nil {
			return err
		}
		keepRegistered(&r, now)
		reg, err = c.ChangeConsumer(s.ctx, r.Name, r, append(opts, client.IfMatch(now.Revision))...)
		return s.registered(reg, err, file)
	}
	reg, err = c.RegisterConsumer(s.ctx, r, opts...)
	return s.registered(reg, err, file)
}

// keepRegistered fills in what the command line left out.
func keepRegistered(r *wire.RegisterConsumer, now *wire.ConsumerView) {
	r.Owner, r.Contact, r.Class = firstOf(r.Owner, now.Owner), firstOf(r.Contact, now.Contact), lifecycle.ConsumerClass(firstOf(string(r.Class), string(now.Class)))
	if r.Expect == 0 {
		r.Expect = now.Expect
	}
	if r.Lifetime == 0 {
		r.Lifetime = now.Lifetime
	}
	if len(r.Keys) == 0 {
		for _, k := range now.Keys {
			r.Keys = append(r.Keys, k.Key)
		}
	}
}

// registered puts the enrolment token where it was asked for, once.
func (s *session) registered(reg *wire.ConsumerRegistration, err error, file *secretFile) error {
	if err != nil {
		return err
	}
	if reg.EnrolmentToken == "" {
		return s.finish(&reg.Operation, nil, "")
	}
	if out := s.String("out"); file != nil {
		if err := file.write(reg.EnrolmentToken, "chancery consumer register "+s.arg(0)+" --again --out FILE"); err != nil {
			return err
		}
		s.notef("the enrolment token is in %s; it is good once, until %s: chancery consumer enrol %s --enrolment %s --out TOKENFILE", out, when(reg.EnrolmentExpiresAt), s.arg(0), out)
		return s.finish(&reg.Operation, nil, "")
	}
	if s.format == formatJSON || s.format == formatYAML {
		return s.show(view{value: reg})
	}
	s.notef("good once, until %s, on the verifier's machine: chancery consumer enrol %s --out TOKENFILE", when(reg.EnrolmentExpiresAt), s.arg(0))
	return s.write("-", []byte(reg.EnrolmentToken+"\n"), 0)
}

func listConsumers(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	limit := s.Int("limit")
	if limit <= 0 {
		limit = wire.MaxListLimit
	}
	l, err := c.Consumers(s.ctx, client.Page(limit, s.String("cursor")), client.Query(wire.QueryKey, s.String("key")))
	if err != nil {
		return err
	}
	v := view{value: l, head: []string{"CONSUMER", "CLASS", "OWNER", "KEY", "HAVE", "EXPECT", "STATE", "LAST SEEN"}}
	for _, x := range l.Items {
		v.names = append(v.names, x.Name)
		for _, k := range x.Keys {
			v.rows = append(v.rows, []string{x.Name, string(x.Class), x.Owner, k.Key, fmt.Sprint(k.Confirmed), fmt.Sprint(k.Expect), consumerState(&x, &k), when(k.LastSeenAt)})
		}
	}
	for _, x := range l.Shadow { // they have no name: no command takes their address for one
		v.rows = append(v.rows, []string{orDash(""), "not registered", orDash(x.Agent), orDash(x.Key), "-", "-", fmt.Sprintf("%d fetches from %s", x.Fetches, x.Address), when(x.LastAt)})
	}
	return s.showPage(v, l.Next)
}

func consumerState(c *wire.ConsumerView, k *wire.ConsumerKey) string {
	switch {
	case c.RetiredAt != 0:
		return "retired"
	case k.Confirmed >= k.Expect:
		return "confirmed"
	case k.Lapsed:
		return "lapsed"
	case k.LastSeenAt != 0:
		return "behind"
	}
	return "never seen"
}

func showConsumer(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	x, err := c.Consumer(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	v := view{value: x, names: []string{x.Name}}
	v.pair("consumer", x.Name)
	v.pair("class", string(x.Class))
	v.pair("owner", x.Owner)
	v.pair("contact", x.Contact)
	v.pair("confirmations live", x.Lifetime.String())
	if x.EnrolmentExpiresAt != 0 {
		v.pair("enrolment", "waits until "+when(x.EnrolmentExpiresAt))
	}
	if x.RetiredAt != 0 {
		v.pair("retired", when(x.RetiredAt)+" by "+string(x.RetiredBy))
	}
	for _, k := range x.Keys {
		v.pair("key "+k.Key, fmt.Sprintf("%s: %d of %d instances have %s", consumerState(x, &k), k.Confirmed, k.Expect, k.Digest))
		for _, i := range k.Instances {
			state := "until " + when(i.ExpiresAt)
			if i.LapsedAt != 0 {
				state = "lapsed " + when(i.LapsedAt)
			}
			if i.Weak {
				state += ", known from its fetches only"
			}
			v.pair("instance "+i.Instance, fmt.Sprintf("%s, %d kids, %d proven, %s", i.Digest, len(i.KIDs), len(i.Proven), state))
		}
	}
	for _, w := range x.Waivers {
		v.pair("waiver", fmt.Sprintf("gate %s of %s version %d until %s by %s: %s", w.Gate, w.Key, w.Version, when(w.Until), w.By, w.Comment))
	}
	return s.show(v)
}

func enrolConsumer(s *session) error {
	secret, err := s.read(s.String("enrolment"), maxEnrolment)
	if err != nil {
		return err
	}
	label := s.String("label")
	if label == "" {
		if label, err = os.Hostname(); err != nil {
			return usagef("this machine has no name: give --label")
		}
	}
	// Enrolling needs no credential, and whatever is there is somebody else's.
	s.profile.Cert, s.profile.CertKey, s.profile.TokenFile = "", "", ""
	c, err := s.client()
	if err != nil {
		return err
	}
	file, err := newSecretFile(s.String("out"))
	if err != nil {
		return err
	}
	defer file.close()
	e, err := c.EnrolConsumer(s.ctx, s.arg(0), wire.Enrol{EnrolmentToken: strings.TrimSpace(string(secret)), Label: label}, s.changes()...)
	if err != nil {
		return err
	}
	if file == nil {
		return s.write("-", []byte(e.Token+"\n"), 0)
	}
	if err := file.write(e.Token, "have another enrolment token made: chancery consumer register "+s.arg(0)+" --again"); err != nil {
		return err
	}
	e.Token = "" // it is in the file, and nowhere else
	s.notef("enrolled as %s for %s until %s; the token is in %s", e.Consumer, strings.Join(e.Keys, ", "), when(e.ExpiresAt), s.String("out"))
	if s.format == formatJSON || s.format == formatYAML {
		return s.show(view{value: e})
	}
	return nil
}

// maxEnrolment is far above a token's size.
const maxEnrolment = 4 << 10

func waiveConsumer(s *session) error {
	w := wire.WaiveConsumer{Key: s.String("key"), Version: s.Uint64("version"), Gate: lifecycle.Gate(s.String("gate")), Comment: s.String("comment")}
	if text := s.String("for"); text != "" {
		if err := w.For.UnmarshalText([]byte(text)); err != nil {
			return usagef("--for: %v", err)
		}
	}
	if w.Comment == "" {
		return usagef("say why the rotation may go on without it: --comment TEXT")
	}
	return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.WaiveConsumer(s.ctx, s.arg(0), w, o...)
	})
}
