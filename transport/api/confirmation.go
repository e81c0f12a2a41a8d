package api

import (
	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// maxConfirmationBytes is the body of a confirmation: 256 kids, and 16 items of 64.
const maxConfirmationBytes = 64 << 10

// confirming is the route of confirmations. It goes to the leader as a change does, but
// answers what was confirmed and no operation: to say again what one has loaded is what
// consumers do all day, and needs no memory of requests.
func confirming() *route {
	r := changing("consumer.confirm", wire.PathConfirmations, "Say which public keys an instance has loaded, and which canaries verified", (*call).confirm).answers(of[wire.Confirmed]())
	r.limit, r.query = maxConfirmationBytes, nil
	return r
}

// speaksFor refuses whoever would confirm in somebody else's name.
func (c *call) speaksFor(name string, key lifecycle.KeyID) error {
	if c.Consumers == nil {
		return wire.Errorf(wire.NotAvailable, "this node takes no confirmations").WithHint("ask another node")
	}
	if c.caller.Principal != name {
		return &authority.Denied{Why: c.caller.Principal + " cannot confirm as consumer " + name + ": its own token is needed, from chancery consumer enrol"}
	}
	if c.route.kind == read {
		return c.may(access.ConsumerConfirm, key)
	}
	// A confirmation is recorded by what comes of it; a record of every decision that it
	// may be made would be most of the journal.
	if d := access.Decide(c.snap.Principal(name), access.ConsumerConfirm, key); !d.Allowed {
		return &authority.Denied{Why: d.Why}
	}
	return nil
}

func (c *call) canaryChallenge() (any, error) {
	key := lifecycle.KeyID(c.query.Get(wire.QueryKey))
	if err := lifecycle.CheckName("key", string(key)); err != nil {
		return nil, wire.Errorf(wire.Invalid, "?key=: %v", err)
	}
	format := c.query.Get(queryFormat)
	if format == "" {
		format = "der"
	}
	if format != "der" && format != "raw" {
		return nil, wire.Errorf(wire.Invalid, "format is der or raw, not %.20q", format)
	}
	con, err := authority.FindConsumer(c.snap.View, c.name())
	if err != nil {
		return nil, err
	}
	if err := c.speaksFor(con.Name, key); err != nil {
		return nil, err
	}
	label := c.query.Get(wire.QueryInstance)
	ch, err := c.Consumers.Challenge(c.r.Context(), c.snap.View, con, key, label)
	if err != nil {
		return nil, err
	}
	c.w.Header()["Cache-Control"] = []string{"no-store"}
	out := wire.CanaryChallenge{Challenge: ch.ID, Consumer: con.Name, Instance: label, Key: string(key), Digest: ch.Digest, Format: format, ExpiresAt: wire.Time(ch.ExpiresAt),
		KIDs: []wire.CanaryKID{}, Proven: notNil(ch.Proven), Missing: []wire.CanaryNotReady{}, Position: transport.Position(c.snap.Position())}
	for i := range ch.KIDs {
		k, err := canaryKID(c.snap.View, &ch.KIDs[i], format)
		if err != nil {
			return nil, err
		}
		out.KIDs = append(out.KIDs, k)
	}
	for _, m := range ch.Missing {
		out.Missing = append(out.Missing, wire.CanaryNotReady{KID: m.KID, Node: nodeLabel(c.snap.View, m.Node), Why: m.Why})
	}
	return out, nil
}

func canaryKID(v *state.View, k *consumer.CanaryKID, format string) (wire.CanaryKID, error) {
	out := wire.CanaryKID{KID: k.KID, Version: k.Version, Alg: k.Alg, Node: nodeLabel(v, k.Node)}
	for n := range k.Messages {
		sig := k.Sigs[n]
		if format == "raw" && (k.Alg == lifecycle.ES256 || k.Alg == lifecycle.ES384) {
			raw, err := hsm.RawECDSA(k.Alg, sig)
			if err != nil {
				return out, err
			}
			sig = raw
		}
		out.Items = append(out.Items, wire.CanaryItem{Item: n, Message: k.Messages[n], Signature: sig})
	}
	return out, nil
}

func nodeLabel(v *state.View, id lifecycle.NodeID) string {
	if n := v.Node(id); n != nil {
		return n.Name
	}
	return id.Short()
}

func (c *call) confirm(in *wire.ConfirmTrustSet) (any, error) {
	if err := lifecycle.CheckName("key", in.Key); err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	key := lifecycle.KeyID(in.Key)
	con, err := authority.FindConsumer(c.snap.View, c.name())
	if err != nil {
		return nil, err
	}
	if err := c.speaksFor(con.Name, key); err != nil {
		return nil, err
	}
	r, err := c.Consumers.Confirm(c.r.Context(), consumer.Statement{Caller: c.caller, RequestID: c.requestID, Consumer: con.Name, Instance: in.Instance, Key: key,
		Digest: in.Digest, KIDs: in.KIDs, Empty: in.Empty, Challenge: in.Challenge, Verified: in.Verified})
	if err != nil {
		return nil, err
	}
	return wire.Confirmed{Consumer: con.Name, Key: in.Key, Instance: in.Instance, Digest: in.Digest, Current: r.Current, Proven: notNil(r.Proven), Unproven: notNil(r.Unproven),
		ExpiresAt: wire.Time(r.ExpiresAt), Recorded: r.Recorded, Confirmed: r.Have, Expect: r.Expect, Position: c.here()}, nil
}
