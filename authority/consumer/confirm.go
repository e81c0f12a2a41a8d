package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Statement is what an instance says it has loaded. Its caller may speak for the
// consumer.
type Statement struct {
	Caller    authority.Caller
	RequestID string
	Consumer  string
	Instance  string
	Key       lifecycle.KeyID
	Digest    string
	KIDs      []string // of the set; nil and not Empty = the trust set as it is published
	Empty     bool
	Challenge string
	Verified  map[string][]int // kid -> good items
}

// Receipt is what a statement came to.
type Receipt struct {
	Current      bool     // it is the trust set as it is published now
	Proven       []string // so far
	Unproven     []string // of the set: a canary can be had
	ExpiresAt    lifecycle.Instant
	Recorded     bool // false: the log had it, with more than half its time left
	Have, Expect int  // instances that have this set
}

// Confirm takes a statement in, on the leader: it believes neither the digest nor the
// canaries before it has looked, and records all of the statement or nothing.
func (d *Desk) Confirm(ctx context.Context, s Statement) (*Receipt, error) {
	if l := d.Ledger.Leadership(); !l.Self || !l.Ready {
		return nil, ledger.ErrNotLeader
	}
	r, err := d.confirm(ctx, d.Ledger.View(), &s)
	rec := audit.Record{Kind: audit.Outcome, Principal: s.Caller.Principal, Verb: "consumer.confirm", Key: string(s.Key), RequestID: s.RequestID,
		Remote: s.Caller.Remote, Allowed: err == nil, Detail: s.Instance}
	if err != nil {
		rec.Detail = strings.TrimSpace(s.Instance + ": " + err.Error())
	}
	if err == nil && !r.Recorded {
		return r, nil // nothing has happened
	}
	if recErr := d.Audit.AppendAsync(rec); recErr != nil && err == nil {
		d.Log.Warn("record a confirmation in the audit journal; the replicated log has it", "consumer", s.Consumer, "err", recErr)
	}
	return r, err
}

func (d *Desk) confirm(ctx context.Context, v *state.View, s *Statement) (*Receipt, error) {
	con, err := authority.FindConsumer(v, s.Consumer)
	if err != nil {
		return nil, err
	}
	if err := lifecycle.CheckInstanceLabel(s.Instance); err != nil {
		return nil, refuse(codeInvalid, "", "%v", err)
	}
	if !con.Lists(s.Key) {
		return nil, notADependent(con, s.Key)
	}
	set, err := d.loaded(v, s)
	if err != nil {
		return nil, err
	}
	item := command.ConfirmationItem{Consumer: con.Name, Instance: s.Instance}
	if item.Proven, err = d.proven(ctx, v, s, set.KIDs); err != nil {
		return nil, err
	}
	news := d.isNews(v, con, set, &item)
	if news {
		if err := d.intake.put(ctx, *set, item); err != nil {
			return nil, err
		}
	}
	return d.receipt(d.Ledger.View(), con, s, set, news)
}

// loaded is the set that the statement is about, with a digest that this node computed.
func (d *Desk) loaded(v *state.View, s *Statement) (*command.LoadedSet, error) {
	if err := lifecycle.CheckTrustSetDigest(s.Digest); err != nil {
		return nil, refuse(codeInvalid, "", "%v", err)
	}
	if len(s.KIDs) > command.MaxKIDs {
		return nil, refuse(codeInvalid, "", "%d kids: at most %d are taken", len(s.KIDs), command.MaxKIDs)
	}
	if s.Empty && len(s.KIDs) > 0 {
		return nil, refuse(codeInvalid, "", "the set is said to be empty, and to have %d kids", len(s.KIDs))
	}
	kids := slices.Clone(s.KIDs)
	slices.Sort(kids)
	if len(slices.Compact(slices.Clone(kids))) != len(kids) {
		return nil, refuse(codeInvalid, "", "a kid stands twice")
	}
	set, err := d.setOf(v, s, kids)
	if errors.Is(err, publish.ErrNoInstance) {
		return nil, refuse(string(state.UnknownKID), "chancery key show "+string(s.Key), "%v", err)
	}
	if err != nil {
		return nil, err
	}
	if set.Digest != s.Digest {
		what := "the trust set as it is published now"
		if len(kids) > 0 || s.Empty {
			what = "the canonical set of the kids named"
		}
		return nil, refuse(codeWrongDigest, "fetch the keys again, then confirm", "the digest of %s is %s, not %s: nothing was recorded", what, set.Digest, s.Digest)
	}
	return set, nil
}

func (d *Desk) setOf(v *state.View, s *Statement, kids []string) (*command.LoadedSet, error) {
	if len(kids) > 0 || s.Empty {
		return d.sets.of(v, s.Key, kids)
	}
	set, err := d.Sets.Set(v, s.Key)
	if err != nil {
		return nil, err
	}
	return loadedSet(s.Key, set), nil
}

// proven has the canaries judged: the places in kids of those that were told apart.
func (d *Desk) proven(ctx context.Context, v *state.View, s *Statement, kids []string) (places []uint64, err error) {
	if s.Challenge == "" {
		if len(s.Verified) > 0 {
			return nil, refuse(codeInvalid, "send the challenge that the canaries came with", "verified canaries of no challenge")
		}
		return nil, nil
	}
	for kid := range s.Verified {
		if _, in := slices.BinarySearch(kids, kid); !in {
			return nil, refuse(string(state.UnknownKID), "", "canaries of kid %.60q were verified, which the confirmed set does not have", kid)
		}
	}
	proven, err := d.verdict(ctx, v, Answer{Challenge: s.Challenge, Consumer: s.Consumer, Instance: s.Instance, Key: s.Key, Verified: s.Verified})
	if err != nil {
		return nil, err
	}
	for n, kid := range kids {
		if slices.Contains(proven, kid) {
			places = append(places, uint64(n))
		}
	}
	return places, nil
}

// isNews reports whether the log would say more with the confirmation than it says
// without: another set, a new proof, or less than half its time left.
func (d *Desk) isNews(v *state.View, con *lifecycle.Consumer, set *command.LoadedSet, item *command.ConfirmationItem) bool {
	now := d.now()
	old := v.Confirmation(con.Name, set.Key, item.Instance)
	if old == nil || !old.Standing(now) || old.Digest != set.Digest || old.Weak != item.Weak || now >= old.At.Add(con.Lifetime/2) {
		return true
	}
	return slices.ContainsFunc(item.Proven, func(n uint64) bool {
		_, known := slices.BinarySearch(old.Proven, set.KIDs[n])
		return !known
	})
}

func (d *Desk) receipt(v *state.View, con *lifecycle.Consumer, s *Statement, set *command.LoadedSet, news bool) (*Receipt, error) {
	r := &Receipt{Recorded: news}
	r.Have, r.Expect = d.counts.of(v, con, s.Key, set.Digest, d.now()), con.Expect
	if row := v.Confirmation(con.Name, s.Key, s.Instance); row != nil {
		r.Proven, r.ExpiresAt = row.Proven, row.ExpiresAt
	}
	now, err := d.Sets.Set(v, s.Key)
	if err != nil {
		return nil, err
	}
	r.Current = now.Digest == set.Digest
	for _, i := range now.Instances {
		if slices.Contains(set.KIDs, i.KID) && !slices.Contains(r.Proven, i.KID) && v.Provable(i) {
			r.Unproven = append(r.Unproven, i.KID)
		}
	}
	return r, nil
}

// counts remembers how many instances have a set, for as long as nothing can have
// changed it: those of a large consumer confirm all at once, share an entry, and would
// each count all the others.
type counts struct {
	mu   sync.Mutex // owns what follows
	at   state.Position
	now  lifecycle.Instant
	have map[string]int
}

func (c *counts) of(v *state.View, con *lifecycle.Consumer, key lifecycle.KeyID, digest string, now lifecycle.Instant) int {
	name := con.Name + " " + string(key) + " " + digest
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := v.Position(); c.have == nil || c.at.Index != at.Index || c.at.Epoch != at.Epoch || now < c.now || now >= c.now.Add(lifecycle.Second) {
		c.at, c.now, c.have = at, now, map[string]int{}
	}
	have, known := c.have[name]
	if !known {
		have, _ = v.ConfirmedBy(con, key, digest, now)
		c.have[name] = have
	}
	return have
}
