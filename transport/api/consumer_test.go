package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// alone is a node without others.
type alone struct{}

func (alone) SignCanaries(context.Context, lifecycle.NodeID, signing.Canary, []int) ([][]byte, error) {
	return nil, ledger.ErrStale
}
func (alone) AnswerChallenge(context.Context, lifecycle.NodeID, consumer.Answer) (consumer.Verdict, error) {
	return consumer.Verdict{}, ledger.ErrStale
}
func (alone) ReportFetches(context.Context, lifecycle.NodeID, []consumer.Fetch) error { return nil }

// consuming is a node with a desk, the key ci, and the consumer deploy-eu whose token is
// in secrets.
func consuming(t *testing.T) *node {
	t.Helper()
	n := start(t, func(c *Config) {
		c.Consumers = consumer.New(consumer.Config{Ledger: c.Service.Ledger(), Signer: c.Signer, Peers: alone{}, Audit: c.Journal.(consumer.Recorder), Clock: c.Clock, Log: c.Logger})
	})
	n.create(createCI)
	return n
}

var deployEU = wire.RegisterConsumer{Name: "deploy-eu", Owner: "deploy", Contact: "deploy@example.com", Keys: []string{"ci"}, Lifetime: lifecycle.Hour}

// enrolled registers and enrols deploy-eu.
func enrolled(t *testing.T) *node {
	n := consuming(t)
	reg := get[wire.ConsumerRegistration](t, n.ask("admin", "POST", wire.PathConsumers, deployEU))
	e := get[wire.Enrolled](t, n.ask("", "POST", wire.Path(wire.PathEnrolConsumer, "deploy-eu"), wire.Enrol{EnrolmentToken: reg.EnrolmentToken}))
	secrets["deploy-eu"] = e.Token
	t.Cleanup(func() { delete(secrets, "deploy-eu") })
	return n
}

func TestConsumerIsRegisteredAndEnrolled(t *testing.T) {
	n := consuming(t)
	n.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "elsewhere", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Operator, Keys: "cd-*"}}}})
	secrets["elsewhere"] = "chy_elsewhere"
	t.Cleanup(func() { delete(secrets, "elsewhere") })
	hash := authority.HashToken("chy_elsewhere")
	n.ledger.Must(t, &command.AddToken{ID: "token-elsewhere", Principal: "elsewhere", Hash: hash[:], ExpiresAt: n.clock.At().Add(lifecycle.Day)})

	refused(t, n.ask("signer", "POST", wire.PathConsumers, deployEU), wire.Denied)
	refused(t, n.ask("elsewhere", "POST", wire.PathConsumers, deployEU), wire.Denied) // an operator, of other keys
	refused(t, n.ask("admin", "POST", wire.PathConsumers, wire.RegisterConsumer{Name: "deploy-eu", Owner: "deploy"}), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.PathConsumers, wire.RegisterConsumer{Name: "deploy-eu", Owner: "deploy", Keys: []string{"none"}}), wire.KeyNotFound)
	plan := get[wire.ConsumerRegistration](t, n.ask("admin", "POST", wire.PathConsumers+"?plan=true", deployEU))
	if !plan.Plan || plan.EnrolmentToken != "" || !strings.Contains(plan.Effects[0], "deploy-eu") {
		t.Errorf("plan %+v", plan)
	}
	id := newID()
	reg := get[wire.ConsumerRegistration](t, n.ask("admin", "POST", wire.PathConsumers, deployEU, wire.HeaderRequestID, id))
	if !strings.HasPrefix(reg.EnrolmentToken, wire.EnrolPrefix) || reg.EnrolmentExpiresAt == 0 || reg.Verb != "consumer register" || reg.Reached != wire.Committed {
		t.Fatalf("registered %+v", reg)
	}
	if again := get[wire.ConsumerRegistration](t, n.ask("admin", "POST", wire.PathConsumers, deployEU, wire.HeaderRequestID, id)); again.EnrolmentToken != "" {
		t.Error("a replay gives the secret again")
	}
	if strings.Contains(n.log.String(), reg.EnrolmentToken) {
		t.Error("the secret is in the log")
	}
	enrol := wire.Path(wire.PathEnrolConsumer, "deploy-eu")
	for _, bad := range []string{"", "chy_enrol_x", reg.EnrolmentToken + "x", secrets["admin"]} {
		refused(t, n.ask("", "POST", enrol, wire.Enrol{EnrolmentToken: bad}), wire.LoginFailed)
	}
	refused(t, n.ask("", "POST", wire.Path(wire.PathEnrolConsumer, "other"), wire.Enrol{EnrolmentToken: reg.EnrolmentToken}), wire.LoginFailed)
	e := get[wire.Enrolled](t, n.ask("", "POST", enrol, wire.Enrol{EnrolmentToken: reg.EnrolmentToken, Label: "eu"}))
	if e.Consumer != "deploy-eu" || !slices.Equal(e.Keys, []string{"ci"}) || e.Token == "" || n.ledger.View().Token(e.TokenID).Label != "eu" {
		t.Fatalf("enrolled %+v", e)
	}
	refused(t, n.ask("", "POST", enrol, wire.Enrol{EnrolmentToken: reg.EnrolmentToken}), wire.LoginFailed) // once
	secrets["deploy-eu"] = e.Token
	t.Cleanup(func() { delete(secrets, "deploy-eu") })
	who := get[wire.WhoAmI](t, n.ask("deploy-eu", "GET", wire.PathWhoAmI, nil))
	if who.Principal != "deploy-eu" || !slices.Equal(who.Roles, []string{"consumer:ci"}) {
		t.Errorf("it is %+v", who)
	}
}

// loadKeys is what a consumer does first: it fetches the trust set.
func (n *node) loadKeys() (digest string, spki map[string][]byte) {
	n.t.Helper()
	k := get[wire.Key](n.t, n.ask("admin", "GET", wire.Path(wire.PathKey, "ci"), nil))
	spki = map[string][]byte{}
	for _, v := range k.Versions {
		for _, i := range v.Instances {
			spki[string(i.KID)] = n.ledger.View().ByKID(string(i.KID))[0].SPKI
		}
	}
	return k.TrustSet.Digest, spki
}

func verifiedItems(c wire.CanaryChallenge, spki map[string][]byte) map[string][]int {
	out := map[string][]int{}
	for _, k := range c.KIDs {
		for _, it := range k.Items {
			sig := it.Signature
			if c.Format == "raw" && k.Alg == lifecycle.ES256 {
				sig, _ = hsm.DERFromRaw(sig) // nil does not verify
			}
			if hsm.VerifySignature(k.Alg, spki[k.KID], signing.Digest(k.Alg, it.Message), sig) == nil {
				out[k.KID] = append(out[k.KID], it.Item)
			}
		}
	}
	return out
}

func TestConfirmationOverTheAPI(t *testing.T) {
	n := enrolled(t)
	challenge, confirmations := wire.Path(wire.PathCanaryChallenge, "deploy-eu"), wire.Path(wire.PathConfirmations, "deploy-eu")
	before := get[wire.Key](t, n.ask("admin", "GET", wire.Path(wire.PathKey, "ci"), nil)).Consumers
	if before.Required != 1 || before.Confirmed != 0 {
		t.Errorf("consumers of the key: %+v", before)
	}
	digest, spki := n.loadKeys()
	for _, format := range []string{"der", "raw"} {
		label := "web-" + format
		c := get[wire.CanaryChallenge](t, n.ask("deploy-eu", "GET", challenge+"?key=ci&instance="+label+"&format="+format, nil))
		if c.Challenge == "" || len(c.KIDs) != 1 || len(c.KIDs[0].Items) != 16 || c.Digest != digest || c.KIDs[0].Node != "n1" || c.ExpiresAt == 0 {
			t.Fatalf("challenge %+v", c)
		}
		in := wire.ConfirmTrustSet{Key: "ci", Instance: label, Digest: digest, Challenge: c.Challenge, Verified: verifiedItems(c, spki)}
		got := get[wire.Confirmed](t, n.ask("deploy-eu", "POST", confirmations, in))
		if !got.Recorded || !got.Current || len(got.Proven) != 1 || len(got.Unproven) != 0 || got.ExpiresAt == 0 {
			t.Errorf("confirmed %+v", got)
		}
		refused(t, n.ask("deploy-eu", "POST", confirmations, in), wire.ChallengeUnknown)
	}
	if after := get[wire.Key](t, n.ask("admin", "GET", wire.Path(wire.PathKey, "ci"), nil)).Consumers; after.Confirmed != 1 {
		t.Errorf("consumers of the key: %+v", after)
	}
	for _, as := range []string{"admin", "deploy-eu"} {
		v := get[wire.ConsumerView](t, n.ask(as, "GET", wire.Path(wire.PathConsumer, "deploy-eu"), nil))
		if len(v.Keys) != 1 || v.Keys[0].Confirmed != 2 || len(v.Keys[0].Instances) != 2 || v.LastSeenAt == 0 || v.EnrolledAt == 0 || v.EnrolmentExpiresAt != 0 {
			t.Errorf("shown to %s: %+v", as, v)
		}
	}
	events := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?kind=consumer.confirmed", nil))
	if len(events.Items) != 1 || events.Items[0].Key != "ci" {
		t.Errorf("events %+v", events.Items)
	}
	n.clock.Advance(time.Hour)
	n.api.Consumers.Keep(t.Context())
	if after := get[wire.Key](t, n.ask("admin", "GET", wire.Path(wire.PathKey, "ci"), nil)).Consumers; after.Confirmed != 0 || !slices.Equal(after.Lapsed, []string{"deploy-eu"}) {
		t.Errorf("an hour later: %+v", after)
	}
}

func TestBadConfirmationsOverTheAPI(t *testing.T) {
	n := enrolled(t)
	challenge, confirmations := wire.Path(wire.PathCanaryChallenge, "deploy-eu"), wire.Path(wire.PathConfirmations, "deploy-eu")
	digest, spki := n.loadKeys()
	ask := challenge + "?key=ci&instance=web-1"
	good := wire.ConfirmTrustSet{Key: "ci", Instance: "web-1", Digest: digest}

	for _, as := range []string{"admin", "signer", "auditor"} {
		refused(t, n.ask(as, "GET", ask, nil), wire.Denied)
		refused(t, n.ask(as, "POST", confirmations, good), wire.Denied)
	}
	refused(t, n.ask("", "GET", ask, nil), wire.Unauthenticated)
	refused(t, n.ask("deploy-eu", "GET", challenge+"?key=ci", nil), wire.Invalid)
	refused(t, n.ask("deploy-eu", "GET", challenge+"?instance=a", nil), wire.Invalid)
	refused(t, n.ask("deploy-eu", "GET", ask+"&format=pem", nil), wire.Invalid)
	refused(t, n.ask("deploy-eu", "GET", strings.Replace(ask, "key=ci", "key=other", 1), nil), wire.Denied)
	refused(t, n.ask("deploy-eu", "GET", wire.Path(wire.PathCanaryChallenge, "nobody")+"?key=ci&instance=a", nil), wire.ConsumerNotFound)
	refused(t, n.ask("deploy-eu", "GET", wire.PathConsumers, nil), wire.Denied)

	c := get[wire.CanaryChallenge](t, n.ask("deploy-eu", "GET", ask, nil))
	with := func(edit func(*wire.ConfirmTrustSet)) wire.ConfirmTrustSet {
		in := good
		in.Challenge, in.Verified = c.Challenge, maps.Clone(verifiedItems(c, spki))
		edit(&in)
		return in
	}
	for _, bad := range []struct {
		code wire.Code
		edit func(*wire.ConfirmTrustSet)
	}{
		{wire.WrongDigest, func(in *wire.ConfirmTrustSet) { in.Digest = "sha256:" + strings.Repeat("0", 64) }},
		{wire.Invalid, func(in *wire.ConfirmTrustSet) { in.Digest = "" }},
		{wire.Denied, func(in *wire.ConfirmTrustSet) { in.Key = "other" }},
		{wire.Invalid, func(in *wire.ConfirmTrustSet) { in.Key = "" }},
		{wire.UnknownKID, func(in *wire.ConfirmTrustSet) { in.KIDs = []string{"nonsense"} }},
		{wire.ChallengeOther, func(in *wire.ConfirmTrustSet) { in.Instance = "web-2" }},
		{wire.CanaryFailed, func(in *wire.ConfirmTrustSet) { in.Verified[c.KIDs[0].KID] = []int{1} }},
	} {
		refused(t, n.ask("deploy-eu", "POST", confirmations, with(bad.edit)), bad.code)
	}
	refused(t, n.ask("deploy-eu", "POST", confirmations, with(func(*wire.ConfirmTrustSet) {})), wire.ChallengeUnknown) // a wrong answer spent it
	refused(t, n.ask("deploy-eu", "POST", confirmations, `{"key":"ci","unknown":1}`), wire.Malformed)
	refused(t, n.ask("deploy-eu", "POST", confirmations, `{"key":"`+strings.Repeat("x", maxConfirmationBytes)+`"}`), wire.TooLarge)
	if rows := n.ledger.View().Confirmations("deploy-eu"); len(rows) != 0 {
		t.Errorf("of all this %d confirmations came", len(rows))
	}
}

func TestConsumerIsChangedWaivedAndRetired(t *testing.T) {
	n := enrolled(t)
	one := wire.Path(wire.PathConsumer, "deploy-eu")
	shown := n.ask("admin", "GET", one, nil)
	etag := shown.header.Get("Etag")
	change := deployEU
	change.Expect, change.Enrol = 3, true
	refused(t, n.ask("admin", "PUT", one, change), wire.PreconditionRequired)
	refused(t, n.ask("admin", "PUT", one, change, "If-Match", `"1"`), wire.PreconditionFailed)
	other := change
	other.Name = "other"
	refused(t, n.ask("admin", "PUT", one, other, "If-Match", etag), wire.Invalid)
	reg := get[wire.ConsumerRegistration](t, n.ask("admin", "PUT", one, change, "If-Match", etag))
	if reg.EnrolmentToken == "" || n.ledger.View().Consumer("deploy-eu").Expect != 3 {
		t.Errorf("changed %+v", reg)
	}
	waive := wire.Path(wire.PathWaiveConsumer, "deploy-eu")
	refused(t, n.ask("admin", "POST", waive, wire.WaiveConsumer{Key: "ci", Version: 1, Gate: "publish", Comment: "x"}), wire.Invalid)
	refused(t, n.ask("signer", "POST", waive, wire.WaiveConsumer{Key: "ci", Version: 1, Gate: lifecycle.GateWithdraw, Comment: "x"}), wire.Denied)
	get[wire.Operation](t, n.ask("admin", "POST", waive, wire.WaiveConsumer{Key: "ci", Version: 1, Gate: lifecycle.GateWithdraw, Comment: "the region is down"}))
	v := get[wire.ConsumerView](t, n.ask("admin", "GET", one, nil))
	if len(v.Waivers) != 1 || v.Waivers[0].Comment != "the region is down" || v.Waivers[0].By != "admin" {
		t.Errorf("waivers %+v", v.Waivers)
	}
	retire := wire.Path(wire.PathRetireConsumer, "deploy-eu")
	get[wire.Operation](t, n.ask("admin", "POST", retire, wire.RetireConsumer{Comment: "closed"}))
	refused(t, n.ask("deploy-eu", "GET", one, nil), wire.Unauthenticated) // its token went with it
	refused(t, n.ask("admin", "POST", retire, wire.RetireConsumer{}), wire.IllegalTransition)
	list := get[wire.ConsumerList](t, n.ask("auditor", "GET", wire.PathConsumers, nil))
	if len(list.Items) != 1 || list.Items[0].RetiredAt == 0 || list.Shadow == nil {
		t.Errorf("list %+v", list)
	}
}

// TestRequiredConsumerIsGuarded: where a rule says so, asking less of a required
// consumer waits for people, and so does a new credential.
func TestRequiredConsumerIsGuarded(t *testing.T) {
	n := enrolled(t)
	n.govern(lifecycle.ApproveWaive, lifecycle.ApproveConsumers)
	one := wire.Path(wire.PathConsumer, "deploy-eu")
	again := deployEU
	again.Enrol = true
	for _, r := range []reply{
		n.ask("admin", "POST", wire.Path(wire.PathWaiveConsumer, "deploy-eu"), wire.WaiveConsumer{Key: "ci", Version: 1, Gate: lifecycle.GateWithdraw, Comment: "down"}),
		n.ask("admin", "POST", wire.Path(wire.PathRetireConsumer, "deploy-eu"), wire.RetireConsumer{Comment: "closed"}),
		n.ask("admin", "PUT", one, again, "If-Match", n.ask("admin", "GET", one, nil).header.Get("Etag")),
	} {
		op := get[wire.ConsumerRegistration](t, r)
		if r.status != http.StatusAccepted || op.Status != wire.PendingApproval || op.Proposal == "" {
			t.Errorf("%d %s", r.status, r.body)
			continue
		}
		p := get[wire.Proposal](t, n.ask("auditor", "GET", wire.Path(wire.PathProposal, op.Proposal), nil))
		if len(p.Effects) == 0 || !strings.Contains(strings.Join(p.Effects, "\n"), "deploy-eu") {
			t.Errorf("the approvers read %q", p.Effects)
		}
	}
	if c := n.ledger.View().Consumer("deploy-eu"); len(c.Waivers) != 0 || c.RetiredAt != 0 || len(c.EnrolHash) != 0 {
		t.Errorf("something was done: %+v", c)
	}
}
