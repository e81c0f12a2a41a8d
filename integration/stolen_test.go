package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/provision"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/peer"
	"github.com/chancery-project/chancery/transport/tlsmux"
	"github.com/chancery-project/chancery/transport/wire"
)

// thief speaks to the cluster with everything that lay on a stolen node's disk.
type thief struct {
	t           *testing.T
	id          lifecycle.NodeID
	certificate *tls.Certificate
	peers       *peer.Client
}

// steal reads the identity of a node that was stopped.
func steal(t *testing.T, c *lab, n *node) *thief {
	t.Helper()
	store := identity.NewStore(n.data("identity"))
	key, err := store.LoadKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := store.LoadLeaf(key)
	if err != nil {
		t.Fatal(err)
	}
	mux := tlsmux.New(tlsmux.Config{Member: func(lifecycle.NodeID) bool { return true }, Logger: slog.New(slog.DiscardHandler)})
	mux.SetCertificate(leaf)
	address := map[lifecycle.NodeID]string{}
	for _, m := range c.nodes {
		address[nodeID(c, m)] = m.peer
	}
	th := &thief{t: t, id: key.NodeID(), certificate: leaf,
		peers: peer.NewClient(mux, func(id lifecycle.NodeID) (string, error) { return address[id], nil })}
	t.Cleanup(th.peers.Close)
	return th
}

func nodeID(c *lab, n *node) lifecycle.NodeID {
	c.t.Helper()
	show, err := c.admin.Node(ctx(c.t), n.name)
	if err != nil {
		c.t.Fatalf("show %s: %v", n.name, err)
	}
	return lifecycle.NodeID(show.ID)
}

// say sends one verb.
func say[Req any](th *thief, to lifecycle.NodeID, verb string, req Req) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := peer.Call[Req, any](ctx, th.peers, to, verb, req)
	return err
}

// refused wants a refusal that names the reason, not an accident on the way.
func (th *thief) refused(what string, err error, because string) {
	th.t.Helper()
	switch {
	case err == nil:
		th.t.Errorf("%s was accepted", what)
	case !strings.Contains(err.Error(), because):
		th.t.Errorf("%s was refused for another reason than %q: %v", what, because, err)
	}
}

// TestStolenFollower shows what somebody can do who has a node's disk: lie about that
// node, and nothing else.
func TestStolenFollower(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.createKey("ci", "")
	c.leader()
	lead := c.leader()
	others := c.others(lead)
	victim, stolen := others[0], others[1]
	leadID, victimID := nodeID(c, lead), nodeID(c, victim)
	theirs := instance(c, "ci", 1, victim)
	th := steal(t, c, stolen)
	stolen.stop(t)

	if err := say(th, leadID, "members", struct{}{}); err != nil {
		t.Fatalf("a member is not heard at all: %v", err) // else every refusal below would prove nothing
	}
	th.bindAndReport(leadID, victimID)
	th.reads(leadID, victimID)
	th.forges(c, lead, victim)
	th.unknownVerbs(leadID)
	th.api(c, lead)

	if now := instance(c, "ci", 1, victim); now.KID != theirs.KID || now.Condition != lifecycle.Ready {
		t.Errorf("the victim's instance was %+v and is %+v", theirs, now)
	}
	// Of itself a node may say what it likes, and it is said in its own name.
	if err := say(th, leadID, "report-condition", command.ReportCondition{Key: "ci", Version: 1, Node: th.id, Condition: lifecycle.Lost, Detail: "says the thief"}); err != nil {
		t.Errorf("a report about itself: %v", err)
	}
	recordedInAudit(t, c, lead, stolen.name)
}

type bind struct {
	Bind  command.BindInstance `json:"bind"`
	Proof provision.Proof      `json:"proof"`
}

// bindAndReport tries to speak for another node's instances, and for its row.
func (th *thief) bindAndReport(to, victim lifecycle.NodeID) {
	th.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		th.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		th.t.Fatal(err)
	}
	b := bind{Bind: command.BindInstance{Key: "ci", Version: 1, Node: victim, SPKI: spki, KID: strings.Repeat("A", 43), Driver: "soft"}}
	th.refused("a binding for another node", say(th, to, "bind-instance", b), "may not do instance.bind")
	b.Bind.Node, b.Proof.Signature = th.id, []byte("no signature")
	th.refused("a binding without the private key", say(th, to, "bind-instance", b), "proof of possession")
	th.refused("a report on another node's instance",
		say(th, to, "report-condition", command.ReportCondition{Key: "ci", Version: 1, Node: victim, Condition: lifecycle.Lost}), "may not do instance.report")
	th.refused("another node's evidence of erasure",
		say(th, to, "confirm-erased", command.ConfirmErased{Key: "ci", Version: 1, Node: victim, Evidence: "gone"}), "may not do instance.erased")
	th.refused("another node's new address",
		say(th, to, "update-node", command.UpdateNode{ID: victim, Addrs: lifecycle.Addrs{Node: "127.0.0.1:1"}}), "may not do node.update")
	th.refused("a certificate for another key",
		say(th, to, "renew-certificate", map[string]any{"spki": spki, "hosts": []string{"127.0.0.1"}}), "its own certificate only")
}

// reads tries to vouch for others in the protocol of reads.
func (th *thief) reads(to, victim lifecycle.NodeID) {
	th.t.Helper()
	th.refused("a read index with another node's report",
		say(th, to, "read-index", cluster.ReadIndexReq{Nonce: "1", Report: cluster.Report{Node: victim}}), "the sender is not who")
	th.refused("a confirmation round in the leader's name",
		say(th, victim, "confirm", cluster.ConfirmReq{Nonce: "1", Term: 1 << 40, Leader: to}), "the sender is not who")
}

// unknownVerbs: there is no verb that carries a command, or a principal's name.
func (th *thief) unknownVerbs(to lifecycle.NodeID) {
	th.t.Helper()
	for _, verb := range []string{"propose", "apply", "forward", "execute", "create-key", "revoke", "sign", "add-principal", "create-token", "promote", "join"} {
		th.refused("verb "+verb, say(th, to, verb, map[string]any{"actor": "admin", "key": "ci", "reason": "keyCompromise"}), "status 404")
	}
}

// api: a node's certificate is not a principal's.
func (th *thief) api(c *lab, lead *node) {
	th.t.Helper()
	k, err := client.New(client.Config{Addrs: []string{lead.api}, CAFile: c.path("ca.pem"), Certificate: th.certificate})
	if err != nil {
		th.t.Fatal(err)
	}
	defer k.Close()
	for what, call := range map[string]func() error{
		"whoami": func() error { _, err := k.WhoAmI(ctx(th.t)); return err },
		"sign": func() error {
			_, err := k.Sign(ctx(th.t), "ci", wire.SignRequest{Message: []byte("x")})
			return err
		},
		"revoke": func() error {
			_, err := k.Revoke(ctx(th.t), "ci", wire.Revoke{Reason: lifecycle.KeyCompromise})
			return err
		},
	} {
		var refused *wire.Error
		if err := call(); !errors.As(err, &refused) || refused.Code != wire.Unauthenticated {
			th.t.Errorf("%s with a node's certificate: %v, want %s", what, err, wire.Unauthenticated)
		}
	}
}

// recordedInAudit: each attempt to speak for somebody else stands in the journal of
// the node that refused it.
func recordedInAudit(t *testing.T, c *lab, lead *node, name string) {
	t.Helper()
	want := map[string]int{"instance.bind": 1, "instance.report": 1, "instance.erased": 1, "node.update": 1}
	var records []wire.AuditRecord
	err := client.All(func(page ...client.Option) (wire.List[wire.AuditRecord], error) {
		return c.admin.Audit(ctx(t), append(page, client.At(lead.api))...)
	}, func(r wire.AuditRecord) error { records = append(records, r); return nil })
	if err != nil {
		t.Fatalf("read the audit journal: %v", err)
	}
	for _, r := range records {
		if r.Principal == "node:"+name && !r.Allowed {
			want[r.Verb]--
		}
	}
	for verb, left := range want {
		if left > 0 {
			t.Errorf("no record says that node:%s was refused %s", name, verb)
		}
	}
}
