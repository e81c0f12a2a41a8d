package consumer

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	challengeLife = 5 * lifecycle.Minute
	maxOpen       = 16_384 // challenges in memory, over all consumers; some hundred bytes each
	maxKIDs       = 64     // of one challenge: eight signatures each
	goodItems     = signing.CanaryItems / 2
)

// Challenge is what one instance proves its public keys with.
type Challenge struct {
	ID        string // "" = nothing is left to be proven
	Digest    string // of the trust set now
	ExpiresAt lifecycle.Instant
	KIDs      []CanaryKID
	Proven    []string // by this instance, before
	Missing   []Missing
}

// CanaryKID is the canaries of one public key.
type CanaryKID struct {
	KID      string
	Version  uint64
	Alg      lifecycle.Algorithm
	Node     lifecycle.NodeID
	Messages [][]byte
	Sigs     [][]byte // DER for ECDSA; half of them are not of KID
}

// Missing is a kid without canaries, and why its node gave none.
type Missing struct {
	KID  string
	Node lifecycle.NodeID
	Why  string
}

// pending is a challenge that waits for its answer.
type pending struct {
	consumer, instance string
	key                lifecycle.KeyID
	expiresAt          lifecycle.Instant
	good               map[string]uint16 // kid -> bit n: item n is good
}

// challenges are those that this node has open. They live in memory: a node that
// restarts knows none of them, and the consumer asks again.
type challenges struct {
	mu   sync.Mutex // owns what follows
	open map[string]*pending
}

// Challenge makes canaries of all kids of a key that could sign soon and that the
// instance has not proven. The caller is allowed to act for the consumer.
func (d *Desk) Challenge(ctx context.Context, v *state.View, con *lifecycle.Consumer, key lifecycle.KeyID, instance string) (*Challenge, error) {
	if err := lifecycle.CheckInstanceLabel(instance); err != nil {
		return nil, refuse(codeInvalid, "add ?instance= with the host's or pod's name", "%v", err)
	}
	if !con.Lists(key) {
		return nil, notADependent(con, key)
	}
	set, err := d.Sets.Set(v, key)
	if err != nil {
		return nil, err
	}
	now := d.now()
	c := &Challenge{Digest: set.Digest}
	var proven []string
	if r := v.Confirmation(con.Name, key, instance); r != nil && r.Standing(now) {
		proven = r.Proven
	}
	var ask []*lifecycle.Instance
	for _, i := range set.Instances {
		switch {
		case slices.Contains(proven, i.KID):
			c.Proven = append(c.Proven, i.KID)
		case v.Provable(i) && len(ask) < maxKIDs:
			ask = append(ask, i)
		}
	}
	if len(ask) == 0 {
		return c, nil
	}
	select {
	case d.hsm <- struct{}{}:
		defer func() { <-d.hsm }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many challenges are being made", ledger.ErrBusy)
	}
	return c, d.fill(ctx, v, con, c, ask, instance)
}

// fill has the canaries signed, on this node and on others at the same time, and
// remembers which are good.
func (d *Desk) fill(ctx context.Context, v *state.View, con *lifecycle.Consumer, c *Challenge, ask []*lifecycle.Instance, instance string) error {
	key := v.Key(ask[0].Key)
	kids, whys := make([]*CanaryKID, len(ask)), make([]error, len(ask))
	good := make([]uint16, len(ask))
	var wg sync.WaitGroup
	for n, i := range ask {
		wg.Go(func() { kids[n], good[n], whys[n] = d.canaries(ctx, v, con, key, i, instance) })
	}
	wg.Wait()
	p := &pending{consumer: con.Name, instance: instance, key: key.ID, expiresAt: d.now().Add(challengeLife), good: map[string]uint16{}}
	for n, i := range ask {
		if whys[n] != nil {
			d.Log.Warn("have canaries signed", "key", key.ID, "kid", i.KID, "node", i.Node.Short(), "err", whys[n])
			c.Missing = append(c.Missing, Missing{KID: i.KID, Node: i.Node, Why: whys[n].Error()})
			continue
		}
		p.good[i.KID] = good[n]
		c.KIDs = append(c.KIDs, *kids[n])
	}
	if len(c.KIDs) == 0 {
		return nil
	}
	nonce, err := d.drawHex(16)
	if err != nil {
		return err
	}
	c.ExpiresAt = p.expiresAt
	c.ID = string(d.Ledger.NodeID()) + "." + nonce
	return d.challenges.add(c.ID, p, d.now(), con.MaxInstances())
}

// add keeps a challenge. An instance that asks again has its older one forgotten, and a
// consumer with too many its oldest, so that none fills the memory for the others.
func (cs *challenges) add(id string, p *pending, now lifecycle.Instant, most int) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	own, oldest := 0, ""
	for other, q := range cs.open {
		switch {
		case q.expiresAt <= now, q.consumer == p.consumer && q.instance == p.instance && q.key == p.key:
			delete(cs.open, other)
		case q.consumer == p.consumer:
			if own++; oldest == "" || q.expiresAt < cs.open[oldest].expiresAt {
				oldest = other
			}
		}
	}
	if own >= most {
		delete(cs.open, oldest)
	}
	if len(cs.open) >= maxOpen {
		return fmt.Errorf("%w: %d challenges are open on this node", ledger.ErrBusy, len(cs.open))
	}
	cs.open[id] = p
	return nil
}

// Answer is what an instance makes of a challenge.
type Answer struct {
	Challenge string           `json:"challenge"`
	Consumer  string           `json:"consumer"`
	Instance  string           `json:"instance"`
	Key       lifecycle.KeyID  `json:"key"`
	Verified  map[string][]int `json:"verified"` // kid -> items that are good
}

// Check bounds an answer before anything is done with it.
func (a *Answer) Check() error {
	if len(a.Challenge) > maxChallengeBytes || len(a.Verified) > maxKIDs {
		return refuse(codeInvalid, "", "an answer about %d kids to a challenge of %d bytes", len(a.Verified), len(a.Challenge))
	}
	for kid, items := range a.Verified {
		if len(items) > signing.CanaryItems {
			return refuse(codeInvalid, "", "kid %.60q: %d items of %d", kid, len(items), signing.CanaryItems)
		}
	}
	return nil
}

const maxChallengeBytes = 64 + 1 + 32 // node id, dot, nonce

// Verdict is what an answer proves.
type Verdict struct {
	Proven []string `json:"proven"` // kids, ascending
	Code   string   `json:"code,omitempty"`
	Why    string   `json:"why,omitempty"` // nothing is proven
}

// Judge looks at the answer to a challenge that this node made. Right or wrong, the
// challenge is spent; only one that was made for somebody else is left to them.
func (d *Desk) Judge(a Answer) Verdict {
	if err := a.Check(); err != nil {
		return Verdict{Code: codeInvalid, Why: err.Error()}
	}
	d.challenges.mu.Lock()
	p, ok := d.challenges.open[a.Challenge]
	other := ok && (p.consumer != a.Consumer || p.instance != a.Instance || p.key != a.Key)
	if !other {
		delete(d.challenges.open, a.Challenge)
	}
	d.challenges.mu.Unlock()
	switch {
	case !ok || d.now() >= p.expiresAt:
		return Verdict{Code: codeChallengeUnknown, Why: fmt.Sprintf("the challenge is unknown, was used, or is older than %s: ask for another", challengeLife)}
	case other:
		return Verdict{Code: codeChallengeOther, Why: "the challenge was not given to this instance of this consumer for this key"}
	}
	return p.judge(a)
}

// judge compares what is said with what is so. One wrong kid spoils all: whoever
// cannot tell good from broken verifies nothing.
func (p *pending) judge(a Answer) (v Verdict) {
	for kid, items := range a.Verified {
		good, ok := p.good[kid]
		if !ok {
			return Verdict{Code: string(state.UnknownKID), Why: fmt.Sprintf("the challenge has no canaries of kid %.60q", kid)}
		}
		var said uint16
		for _, n := range items {
			if n < 0 || n >= signing.CanaryItems || said&(1<<n) != 0 {
				return Verdict{Code: codeInvalid, Why: fmt.Sprintf("item %d of kid %s: items are 0 to %d, each once", n, kid, signing.CanaryItems-1)}
			}
			said |= 1 << n
		}
		if subtle.ConstantTimeEq(int32(said), int32(good)) != 1 {
			return Verdict{Code: codeCanaryFailed, Why: fmt.Sprintf("kid %s: the items that were called good are not those that are: the instance does not verify with this key", kid)}
		}
		v.Proven = append(v.Proven, kid)
	}
	slices.Sort(v.Proven)
	return v
}

// verdict brings an answer to the node that made the challenge.
func (d *Desk) verdict(ctx context.Context, v *state.View, a Answer) ([]string, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	node, _, ok := strings.Cut(a.Challenge, ".")
	holder := v.Node(lifecycle.NodeID(node))
	var out Verdict
	switch {
	case !ok || holder == nil:
		out = Verdict{Code: codeChallengeUnknown, Why: "the challenge is none of this cluster's: ask for one"}
	case holder.ID == d.Ledger.NodeID():
		out = d.Judge(a)
	default:
		var err error
		if out, err = d.Peers.AnswerChallenge(ctx, holder.ID, a); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil, err
			}
			d.Log.Warn("ask the node that made a challenge", "node", holder.Name, "err", err)
			out = Verdict{Code: codeChallengeUnknown, Why: fmt.Sprintf("node %s, which made the challenge, does not answer: ask for another", holder.Name)}
		}
	}
	if out.Code != "" {
		return nil, refuse(out.Code, "GET /v1/consumers/"+a.Consumer+"/challenge?key="+string(a.Key)+"&instance="+a.Instance, "%s", out.Why)
	}
	return out.Proven, nil
}

func (d *Desk) drawHex(n int) (string, error) {
	b := make([]byte, n)
	if err := d.draw(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

func notADependent(con *lifecycle.Consumer, key lifecycle.KeyID) error {
	return refuse(string(state.NotADependent), "chancery consumer show "+con.Name, "consumer %s is not registered for key %.80q", con.Name, key)
}
