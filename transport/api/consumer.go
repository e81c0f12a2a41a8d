package api

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func consumerRoutes() []*route {
	return []*route{
		changing("consumer.register", wire.PathConsumers, "Register a verifier; its enrolment token is in the answer and nowhere else", (*call).registerConsumer).
			answers(of[wire.ConsumerRegistration]()),
		reading[wire.ConsumerList]("consumer.list", wire.PathConsumers, "Registered verifiers, and who else fetches keys", (*call).listConsumers, with(paged, wire.QueryKey)...),
		reading[wire.ConsumerView]("consumer.show", wire.PathConsumer, "A verifier and what its instances have confirmed", (*call).showConsumer),
		changing("consumer.change", wire.PathConsumer, "Replace what is registered of a verifier", (*call).changeConsumer).put().governed().answers(of[wire.ConsumerRegistration]()),
		changing("consumer.retire", wire.PathRetireConsumer, "End a verifier: nothing waits for it any more", (*call).retireConsumer).governed(),
		changing("consumer.waive", wire.PathWaiveConsumer, "Let one gate of one version pass without a verifier", (*call).waiveConsumer).governed(),
		changing("consumer.enrol", wire.PathEnrolConsumer, "Trade an enrolment token for a bearer token", (*call).enrolConsumer).as(entry, wire.MaxLoginBytes).answers(of[wire.Enrolled]()),
		reading[wire.CanaryChallenge]("consumer.challenge", wire.PathCanaryChallenge, "Canaries to prove one's public keys with", (*call).canaryChallenge,
			wire.QueryKey, wire.QueryInstance, queryFormat),
		confirming(),
	}
}

// record is what is registered, defaults filled in.
func consumerRecord(name string, in *wire.RegisterConsumer) command.ConsumerRecord {
	r := command.ConsumerRecord{Name: name, Owner: in.Owner, Contact: in.Contact, Class: in.Class, Expect: in.Expect, Lifetime: in.Lifetime}
	if r.Class == "" {
		r.Class = lifecycle.Required
	}
	if r.Expect == 0 {
		r.Expect = 1
	}
	if r.Lifetime == 0 {
		r.Lifetime = lifecycle.DefaultConfirmation
	}
	for _, k := range in.Keys {
		r.Keys = append(r.Keys, lifecycle.KeyID(k))
	}
	slices.Sort(r.Keys)
	return r
}

func (c *call) registerConsumer(in *wire.RegisterConsumer) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	if in.Enrol {
		return nil, wire.Errorf(wire.Invalid, "enrol is for a consumer that is registered: a new one gets its enrolment token anyway")
	}
	rec := consumerRecord(in.Name, in)
	r, secret, expires, err := c.Service.RegisterConsumer(c.r.Context(), req, rec)
	return c.registration(asked{verb: "consumer register", kind: command.KindRegisterConsumer, subject: rec.Name, body: &command.RegisterConsumer{Consumer: rec}}, r, secret, expires, err)
}

func (c *call) changeConsumer(in *wire.RegisterConsumer) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	revision, err := c.ifMatch()
	if err != nil {
		return nil, err
	}
	if in.Name != "" && in.Name != c.name() {
		return nil, wire.Errorf(wire.Invalid, "the path names consumer %.80q, the body %.80q: a consumer keeps its name", c.name(), in.Name)
	}
	rec := consumerRecord(c.name(), in)
	r, secret, expires, err := c.Service.UpdateConsumer(c.r.Context(), req, revision, rec, in.Enrol)
	planned := &command.UpdateConsumer{Consumer: rec}
	if in.Enrol {
		planned.Enrolment = &command.Enrolment{}
	}
	return c.registration(asked{verb: "consumer change", kind: command.KindUpdateConsumer, subject: rec.Name, body: planned}, r, secret, expires, err)
}

// registration is an operation with the secret that came of it.
func (c *call) registration(a asked, r authority.Result, secret string, expires lifecycle.Instant, err error) (any, error) {
	out, err := c.operation(a, r, err)
	if err != nil {
		return nil, err
	}
	return wire.ConsumerRegistration{Operation: *out.(*wire.Operation), EnrolmentToken: secret, EnrolmentExpiresAt: wire.Time(expires)}, nil
}

func (c *call) retireConsumer(in *wire.RetireConsumer) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.RetireConsumer(c.r.Context(), req, c.name(), in.Comment)
	return c.operation(asked{verb: "consumer retire", kind: command.KindRetireConsumer, subject: c.name(), comment: in.Comment,
		body: &command.RetireConsumer{Name: c.name()}, final: true}, r, err)
}

// defaultWaiver is how long a waiver stands when nobody says.
const defaultWaiver = 7 * lifecycle.Day

func (c *call) waiveConsumer(in *wire.WaiveConsumer) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	if in.Until != 0 && in.For != 0 {
		return nil, wire.Errorf(wire.Invalid, "say either until or for")
	}
	until := in.Until.Instant()
	if until == 0 {
		until = c.now().Add(defaultWaiver)
		if in.For != 0 {
			until = c.now().Add(in.For)
		}
	}
	w := command.WaiveConsumer{Consumer: c.name(), Key: lifecycle.KeyID(in.Key), Version: in.Version, Gate: in.Gate, Until: until, Comment: in.Comment}
	r, err := c.Service.WaiveConsumer(c.r.Context(), req, w)
	return c.operation(asked{verb: "consumer waive", kind: command.KindWaiveConsumer, key: in.Key, subject: c.name(), comment: in.Comment, body: &w, final: true}, r, err)
}

func (c *call) enrolConsumer(in *wire.Enrol) (any, error) {
	if err := c.takeRequestID(); err != nil {
		return nil, err
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	req.Caller = authority.Caller{Remote: c.r.RemoteAddr}
	r, e, err := c.Service.EnrolConsumer(c.r.Context(), req, c.name(), in.EnrolmentToken, in.Label)
	if err != nil {
		if f := transport.Failure(err); f.Code == wire.Unauthenticated {
			f.Code = wire.LoginFailed
			return nil, f.WithHint("an operator makes another enrolment token: chancery consumer register %.60s --again", c.name())
		}
		return nil, err
	}
	if r.Outcome.Replayed {
		c.w.Header()[wire.HeaderReplayed] = []string{"true"}
	}
	out := wire.Enrolled{Consumer: c.name(), Keys: []string{}, TokenID: e.TokenID, Token: e.Token, ExpiresAt: wire.Time(e.ExpiresAt), Position: c.here()}
	if con := c.snap.Consumer(c.name()); con != nil {
		for _, k := range con.Keys {
			out.Keys = append(out.Keys, string(k))
		}
	}
	return out, nil
}

func (c *call) listConsumers() (any, error) {
	if err := c.may(access.ConsumerRead, ""); err != nil {
		return nil, err
	}
	key := lifecycle.KeyID(c.query.Get(wire.QueryKey))
	all := c.snap.Consumers()
	if key != "" {
		all = c.snap.ConsumersOf(key)
	}
	rows, next, err := page(c, all, func(p *lifecycle.Consumer) string { return p.Name })
	if err != nil {
		return nil, err
	}
	items := []wire.ConsumerView{}
	for _, r := range rows {
		w, err := c.consumerView(r, false)
		if err != nil {
			return nil, err
		}
		items = append(items, w)
	}
	l := listOf(c, items, next)
	out := wire.ConsumerList{Items: l.Items, Next: l.Next, Shadow: []wire.ShadowConsumer{}, Position: l.Position, AsOf: l.AsOf}
	if c.Consumers == nil {
		return out, nil
	}
	for _, s := range c.Consumers.Shadows() {
		if key == "" || s.Key == key {
			out.Shadow = append(out.Shadow, wire.ShadowConsumer{Key: string(s.Key), Address: s.Prefix, Agent: s.Agent, Fetches: s.Count,
				FirstAt: wire.Time(s.FirstAt), LastAt: wire.Time(s.LastAt), Node: c.Node})
		}
	}
	return out, nil
}

func (c *call) showConsumer() (any, error) {
	if c.name() != c.caller.Principal { // a consumer may look at itself
		if err := c.may(access.ConsumerRead, ""); err != nil {
			return nil, err
		}
	}
	con, err := authority.FindConsumer(c.snap.View, c.name())
	if err != nil {
		return nil, err
	}
	c.w.Header()["Etag"] = []string{wire.ETag(con.Rev)}
	w, err := c.consumerView(con, true)
	if err != nil {
		return nil, err
	}
	pos := transport.Position(c.snap.Position())
	w.Position, w.AsOf = &pos, wire.AsTime(c.snap.AsOf)
	return w, nil
}

// consumerView renders a consumer, with its instances when they are asked for.
func (c *call) consumerView(con *lifecycle.Consumer, instances bool) (wire.ConsumerView, error) {
	now := c.now()
	w := wire.ConsumerView{Name: con.Name, Owner: con.Owner, Contact: con.Contact, Class: con.Class, Expect: con.Expect, Lifetime: con.Lifetime,
		Keys: []wire.ConsumerKey{}, Waivers: []wire.Waiver{}, Created: origin(con.Created), EnrolledAt: wire.Time(con.EnrolledAt),
		RetiredAt: wire.Time(con.RetiredAt), RetiredBy: wire.Text(con.RetiredBy), Revision: con.Rev}
	if len(con.EnrolHash) > 0 && now < con.EnrolExpiresAt {
		w.EnrolmentExpiresAt = wire.Time(con.EnrolExpiresAt)
	}
	for _, x := range con.Waivers {
		if now < x.Until {
			w.Waivers = append(w.Waivers, wire.Waiver{Key: string(x.Key), Version: x.Version, Gate: x.Gate, Until: wire.Time(x.Until), By: x.By, At: wire.Time(x.At), Comment: x.Comment})
		}
	}
	for _, k := range con.Keys {
		set, err := c.Sets.Set(c.snap.View, k)
		if err != nil {
			return w, err
		}
		ck := consumerKey(c.snap.View, con, k, set.Digest, now, instances)
		w.Keys = append(w.Keys, ck)
		w.LastSeenAt = max(w.LastSeenAt, ck.LastSeenAt)
	}
	return w, nil
}

func consumerKey(v *state.View, con *lifecycle.Consumer, key lifecycle.KeyID, digest string, now lifecycle.Instant, instances bool) wire.ConsumerKey {
	w := wire.ConsumerKey{Key: string(key), Digest: digest}
	w.Confirmed, w.Expect = v.ConfirmedBy(con, key, digest, now)
	counts := false
	rows := v.ConfirmationsOf(con.Name, key)
	for _, r := range rows {
		w.LastSeenAt = max(w.LastSeenAt, wire.Time(r.At))
		counts = counts || r.Standing(now)
		if instances {
			w.Instances = append(w.Instances, wire.ConsumerInstance{Instance: r.Instance, Digest: r.Digest, KIDs: notNil(r.KIDs), Proven: notNil(r.Proven), Weak: r.Weak,
				FirstAt: wire.Time(r.FirstAt), At: wire.Time(r.At), ExpiresAt: wire.Time(r.ExpiresAt), LapsedAt: wire.Time(r.LapsedAt)})
		}
	}
	w.Lapsed = len(rows) > 0 && !counts
	return w
}

// consumerCounts is the consumers block of a key: how many required ones there are, and
// how many of them have the trust set as it is now.
func consumerCounts(v *state.View, key lifecycle.KeyID, digest string, now lifecycle.Instant) wire.Consumers {
	w := wire.Consumers{Lapsed: []string{}}
	for _, con := range v.ConsumersOf(key) {
		k := consumerKey(v, con, key, digest, now, false)
		if con.Class == lifecycle.Required {
			w.Required++
			if k.Confirmed >= k.Expect {
				w.Confirmed++
			}
		}
		if k.Lapsed && con.Class != lifecycle.Observer {
			w.Lapsed = append(w.Lapsed, con.Name)
		}
	}
	return w
}

func keyNames(keys []lifecycle.KeyID) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// consumerEffects says what a change of a consumer would replace.
func consumerEffects(say func(string, ...any), old *lifecycle.Consumer, c *command.UpdateConsumer) {
	if old == nil {
		return
	}
	r := c.Consumer
	differ := func(what string, was, now any) {
		if was != now {
			say("the %s of consumer %s would be %v, now %v", what, r.Name, now, was)
		}
	}
	differ("owner", old.Owner, r.Owner)
	differ("contact", old.Contact, r.Contact)
	differ("class", old.Class, r.Class)
	differ("number of instances", old.Expect, r.Expect)
	differ("lifetime of confirmations", old.Lifetime, r.Lifetime)
	differ("keys", keyNames(old.Keys), keyNames(r.Keys))
	if c.Enrolment != nil {
		say("another enrolment token would be made: whoever has it can confirm as %s", r.Name)
	}
}
