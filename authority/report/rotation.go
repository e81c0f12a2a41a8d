package report

import (
	"fmt"

	"github.com/chancery-project/chancery/authority/rotation"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	staleFirst = 366 * lifecycle.Day // a first version that old is worth a word
	unusedFor  = 90 * lifecycle.Day
)

// Totals count keys. A key that has ended (no version of it can sign again by itself)
// is in Ended and nowhere else.
type Totals struct {
	Keys         int // that have not ended
	Ended        int
	WithinPolicy int // of Keys: without any warning
	ByCode       map[Code]int
}

// ShareWithinPolicy of the keys that have not ended, in thousandths; 1000 when there are
// none.
func (t *Totals) ShareWithinPolicy() int {
	if t.Keys == 0 {
		return 1000
	}
	return t.WithinPolicy * 1000 / t.Keys
}

// KeyReport is one key with what was found.
type KeyReport struct {
	Key         *lifecycle.Key
	ActivatedAt lifecycle.Instant // of the active version, 0 = there is none
	DueAt       lifecycle.Instant // of its replacement by policy, 0 = never
	LastUsedAt  lifecycle.Instant // as the nodes have reported, 0 = never
	Released    uint64            // by all versions
	Ended       bool
	Findings    []Finding
}

// Keys looks at every key, in name order from a name on, until visit returns false.
func Keys(v *state.View, now lifecycle.Instant, from lifecycle.KeyID, visit func(*KeyReport) bool) {
	v.EachKey(from, func(k *lifecycle.Key) bool {
		r := KeyReport{Key: k}
		r.look(v, now)
		return visit(&r)
	})
}

// Total looks at every key and counts.
func Total(v *state.View, now lifecycle.Instant) Totals {
	t := Totals{ByCode: map[Code]int{}}
	Keys(v, now, "", func(r *KeyReport) bool {
		t.add(r)
		return true
	})
	return t
}

// Instances looks at how every key pair is kept, and counts by what was found.
func Instances(v *state.View) map[Code]int {
	found := map[Code]int{}
	v.EachInstance(func(i *lifecycle.Instance) bool {
		if ver := v.Version(i.Key, i.Version); ver != nil {
			for _, f := range Instance(ver, i) {
				found[f.Code]++
			}
		}
		return true
	})
	return found
}

func (t *Totals) add(r *KeyReport) {
	if r.Ended {
		t.Ended++
		return
	}
	t.Keys++
	warned := false
	for i := range r.Findings {
		t.ByCode[r.Findings[i].Code]++
		warned = warned || r.Findings[i].Severity == Warning
	}
	if !warned {
		t.WithinPolicy++
	}
}

func (r *KeyReport) look(v *state.View, now lifecycle.Instant) {
	k := r.Key
	name := string(k.ID)
	found := func(code Code, hint, format string, args ...any) {
		r.Findings = append(r.Findings, finding(code, fmt.Sprintf(format, args...), hint))
	}
	active := v.Version(k.ID, k.Active)
	if active == nil && ended(v, k) {
		r.Ended = true
		return
	}
	rotate := "chancery key rotate " + name
	if k.Newest > k.Active || k.Pause != nil {
		rotate = "chancery rotation show " + name
	}
	allowed := k.Policy.Overdue()
	switch {
	case active == nil:
		found(NoActiveVersion, "chancery key show "+name, "no version of %s signs", name)
	default:
		r.ActivatedAt, r.DueAt = active.ActivatedAt, 0
		if allowed > 0 {
			r.DueAt = active.ActivatedAt.Add(allowed)
		}
		if r.DueAt != 0 && now > r.DueAt {
			found(RotationOverdue, rotate, "version %d signs since %s, and was to be replaced by %s", active.Number, active.ActivatedAt, r.DueAt)
		}
		if k.Newest == 1 && now > active.ActivatedAt.Add(staleFirst) {
			found(NeverRotated, rotate, "version 1 signs since %s and was never replaced", active.ActivatedAt)
		}
	}
	if allowed == 0 && k.Purpose != lifecycle.ForCertificate {
		found(NoRotationPeriod, "chancery key policy set "+name, "the policy of %s has neither rotate_every nor max_age", name)
	}
	if k.Pause != nil {
		found(RotationPaused, "chancery rotation resume "+name, "%s holds the plan since %s: %s", k.Pause.By, k.Pause.At, k.Pause.Reason)
	}
	r.waits(v, now, found)
	if p := v.Principal(k.Owner); k.Owner == "" || p != nil && p.RevokedAt != 0 {
		found(NoOwner, "chancery key policy set "+name+" --owner WHO", "the owner of %s is %q, who is no principal any more", name, k.Owner)
	}
	if k.ConfirmBy != 0 && now > k.ConfirmBy {
		found(PurposeExpired, "chancery key confirm "+name+" --reason 'why it still exists'", "nobody confirmed since %s why %s exists", k.ConfirmBy, name)
	}
	r.use(v, active, now, found)
}

// waits finds a rotation that waits for people. Most keys have no version under way,
// and are not asked.
func (r *KeyReport) waits(v *state.View, now lifecycle.Instant, found func(Code, string, string, ...any)) {
	if r.Key.Newest <= r.Key.Active {
		return
	}
	for _, w := range rotation.Explain(v, r.Key.ID, now).WaitsFor {
		if w.Kind == "consumer" {
			found(RotationWaits, "chancery rotation show "+string(r.Key.ID), "waits for consumer %s of %s", w.Name, w.Owner)
			return
		}
	}
}

// use looks at what the nodes have reported of the key's signatures.
func (r *KeyReport) use(v *state.View, active *lifecycle.Version, now lifecycle.Instant, found func(Code, string, string, ...any)) {
	for _, t := range v.Tallies(r.Key.ID) {
		r.Released += t.Released
		r.LastUsedAt = max(r.LastUsedAt, t.LastAt)
	}
	if active == nil || r.Key.Purpose == lifecycle.ForCertificate || r.Key.Purpose == lifecycle.ForStatus {
		return
	}
	since := max(r.LastUsedAt, active.ActivatedAt)
	if r.LastUsedAt == 0 {
		since = r.Key.Created.At
	}
	if now > since.Add(unusedFor) {
		found(Unused, "chancery report dependents "+string(r.Key.ID), "nothing was signed with %s since %s", r.Key.ID, since)
	}
}

// ended reports whether no version of the key can sign again by itself.
func ended(v *state.View, k *lifecycle.Key) bool {
	for _, ver := range v.Versions(k.ID) {
		if !ver.State.Terminal() && ver.State != lifecycle.Deactivated {
			return false
		}
	}
	return true
}
