package signing

import (
	"context"
	"fmt"
	"strconv"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// CanaryDomain begins every canary. What follows is short text, so a canary is no JWS
// signing input (those have no blank and no line break), no DER (that begins with a
// SEQUENCE, 0x30) and no archive (it is shorter than the block of a tar).
const CanaryDomain = "chancery canary/1\n"

// MaxCanaryBytes is what a canary stays below: one block of a tar archive.
const MaxCanaryBytes = 512

// CanaryItems is how many canaries there are of one challenge and kid.
const CanaryItems = 16

// Canary names the canaries of one challenge and kid. Signing makes their bytes out of
// it and of nothing else: no caller, and no other node, chooses what a version signs
// that is not active yet.
type Canary struct {
	Consumer string          `json:"consumer"`
	Instance string          `json:"instance"` // of the consumer
	Key      lifecycle.KeyID `json:"key"`
	KID      string          `json:"kid"`
	Nonce    string          `json:"nonce"` // 128 random bits, hex
}

// Message is what is signed for one item.
func (c Canary) Message(cluster string, item int) []byte {
	return []byte(CanaryDomain + "cluster: " + cluster + "\nkey: " + string(c.Key) + "\nkid: " + c.KID + "\nconsumer: " + c.Consumer +
		"\ninstance: " + c.Instance + "\nnonce: " + c.Nonce + "\nitem: " + strconv.Itoa(item) + "\n")
}

// Check validates the names: each fits a line, and all of them a canary.
func (c Canary) Check() error {
	if err := lifecycle.CheckName("consumer", c.Consumer); err != nil {
		return err
	}
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	if err := lifecycle.CheckInstanceLabel(c.Instance); err != nil {
		return err
	}
	if len(c.KID) != kidBytes || !hexOf(c.Nonce, nonceBytes) {
		return fmt.Errorf("a canary for kid %.60q with nonce %.60q", c.KID, c.Nonce)
	}
	return nil
}

const (
	kidBytes   = 43 // base64url of a SHA-256
	nonceBytes = 32 // hex
)

func hexOf(s string, n int) bool {
	ok := len(s) == n
	for i := 0; ok && i < n; i++ {
		ok = s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
	}
	return ok
}

// Canaries signs some items of a canary with this node's instance, which is published
// and need not be active. It takes the same way as any signature: a lease, a record
// before the key is used, a look at the signature, the release gate. What it asks of
// the caller is asked of the consumer: it is registered for the key.
func (s *Signer) Canaries(ctx context.Context, c Canary, items []int) ([][]byte, error) {
	v := s.Ledger.View()
	j := &job{Request: Request{Caller: authority.Caller{Principal: c.Consumer}, Key: string(c.Key), ReceivedAt: s.Elapsed()}, limit: s.limit(v), view: v}
	err := c.Check()
	if err != nil {
		err = refuse(string(state.Invalid), "", "%v", err)
	}
	if err == nil {
		err = s.Lease.Usable(v)
	}
	if err == nil {
		j.grounds, err = s.lookCanary(v, c)
	}
	if err != nil {
		return nil, s.refused(j.Request, err)
	}
	out, tbs := make([]Item, len(items)), make([][]byte, len(items))
	var intents []audit.Record
	for i, n := range items {
		if n < 0 || n >= CanaryItems {
			return nil, s.refused(j.Request, refuse(string(state.Invalid), "", "a canary has items 0 to %d, not %d", CanaryItems-1, n))
		}
		tbs[i] = Digest(j.key.Alg, c.Message(v.Cluster().ID, n))
		intents = append(intents, j.canaryRecord(audit.SignIntent, s, tbs[i]))
	}
	if _, err := s.Audit.AppendBatch(ctx, intents); err != nil {
		return nil, fmt.Errorf("%w: %w", authority.ErrAudit, err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.limit-(s.Elapsed()-j.ReceivedAt))
	defer cancel()
	s.signAll(ctx, j, out, tbs)
	return s.releaseCanaries(j, c, out, tbs)
}

func (j *job) canaryRecord(kind audit.Kind, s *Signer, tbs []byte) audit.Record {
	rec := j.record(kind, s.Clock(), tbs)
	rec.Verb = "key.canary"
	return rec
}

// releaseCanaries lets all of them out or none.
func (s *Signer) releaseCanaries(j *job, c Canary, items []Item, tbs [][]byte) ([][]byte, error) {
	err := s.gateCanary(j, c)
	for i := range items {
		if err == nil {
			err = items[i].Err
		}
	}
	sigs := make([][]byte, len(items))
	for i := range items {
		rec := j.canaryRecord(audit.SignReleased, s, tbs[i])
		if err != nil {
			items[i].wipe(err)
			s.Withheld.Add(1)
			rec.Kind, rec.Allowed, rec.Detail = audit.SignRefused, false, "signed, not released: "+err.Error()
		} else {
			s.Released.Add(1)
		}
		if recErr := s.Audit.AppendAsync(rec); recErr != nil && err == nil {
			return nil, fmt.Errorf("record a released canary: %w", recErr)
		}
		sigs[i] = items[i].Bytes
	}
	if err != nil {
		return nil, err
	}
	return sigs, nil
}

// gateCanary is the release gate for canaries: the newest state, under the key's lock.
func (s *Signer) gateCanary(j *job, c Canary) error {
	lock := s.gates.of(j.key.ID)
	lock.RLock()
	defer lock.RUnlock()
	v := s.Ledger.View()
	if err := s.Lease.Usable(v); err != nil {
		return fmt.Errorf("release a canary: %w", err)
	}
	if _, err := s.lookCanary(v, c); err != nil {
		return err
	}
	_, err := s.young(j)
	return err
}

// lookCanary finds what a canary rests on: a consumer of the key, and this node's
// instance of that kid, published and not past.
func (s *Signer) lookCanary(v *state.View, c Canary) (g grounds, err error) {
	con := v.Consumer(c.Consumer)
	if con == nil || con.RetiredAt != 0 || !con.Lists(c.Key) {
		return g, &authority.Denied{Why: fmt.Sprintf("%s is no consumer of key %s: it gets no canaries of it", c.Consumer, c.Key)}
	}
	found := v.ByKID(c.KID)
	if len(found) != 1 || found[0].Key != c.Key {
		return g, refuse(string(state.UnknownKID), "chancery key show "+string(c.Key), "kid %.60q is none of key %s", c.KID, c.Key)
	}
	g.instance, g.key, g.node = found[0], v.Key(c.Key), v.Node(s.Ledger.NodeID())
	g.version = v.Version(c.Key, g.instance.Version)
	if g.node == nil || g.instance.Node != g.node.ID {
		return g, refuse("instance_not_here", "ask the node that holds it", "kid %s is not of this node", c.KID)
	}
	if err := s.sealed(g.node, c.Key); err != nil {
		return g, err
	}
	if !v.Provable(g.instance) {
		return g, refuse("instance_not_here", "chancery key show "+string(c.Key), "kid %s signs no canaries: it is not published, not ready, or its version (%s) is past", c.KID, g.version.State)
	}
	return g, s.usable(g)
}
