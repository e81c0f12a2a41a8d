package integration

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// evidence is everything that one trial is judged by. The judges are functions of it
// and of nothing else, so that they can be judged themselves: see oracle_self_test.go.
type evidence struct {
	withdrawals []*withdrawal
	accepted    []acceptance
	answers     []answer
	events      []event
	strict      map[string]bool // keys of which every signature has to be recorded

	by map[string][]*withdrawal // see about
}

// findings asks every judge. The cluster must be up again.
func (r *trial) findings(t *testing.T) (found []string) {
	t.Helper()
	ev := r.evidence()
	for _, judge := range []func(*evidence) []string{(*evidence).gates, (*evidence).acknowledged, (*evidence).settledAcceptances, (*evidence).lateAcceptances, (*evidence).strictRecords, (*evidence).goodAnswers} {
		found = append(found, judge(ev)...)
	}
	found = append(found, r.surprises...)
	found = append(found, r.linearizable(t)...)
	return append(found, r.unaudited(t)...)
}

// condemn fails the test for what was found.
func condemn(t *testing.T, found []string) {
	t.Helper()
	for i, v := range found {
		if i == 15 {
			t.Errorf("and %d more", len(found)-i)
			return
		}
		t.Error("VIOLATION:", v)
	}
}

// evidence collects, and completes the withdrawals by what leaders recorded.
func (r *trial) evidence() *evidence {
	ev := &evidence{withdrawals: r.withdrawals, strict: r.strict, accepted: r.accepted, answers: r.answers, events: slices.DeleteFunc(r.c.events(), func(e event) bool { return e.NS < r.began })}
	at := map[uint64]*withdrawal{}
	for _, w := range ev.withdrawals {
		if w.index != 0 {
			at[w.index] = w
		}
	}
	first := func(at *int64, ns int64) {
		if *at == 0 || ns < *at {
			*at = ns
		}
	}
	for _, e := range ev.events {
		w := at[e.Index]
		switch {
		case w == nil:
		case e.Name == "fenced":
			first(&w.fencedNS, e.NS)
		case e.Name == "settled":
			first(&w.settledNS, e.NS)
		}
	}
	return ev
}

// about are the withdrawals of what a signature with this version of a key by this
// caller needs.
func (ev *evidence) about(key string, version uint64, caller string) (out []*withdrawal) {
	if ev.by == nil {
		ev.by = map[string][]*withdrawal{}
		for _, w := range ev.withdrawals {
			switch w.what {
			case "suspend", "revoke", "replace":
				ev.by[w.key] = append(ev.by[w.key], w)
			case "token", "principal": // a policy: what was signed does not stand in the event
				ev.by["by "+w.subject] = append(ev.by["by "+w.subject], w)
			}
		}
	}
	for _, w := range ev.by[key] {
		if w.version == 0 || version <= w.version {
			out = append(out, w)
		}
	}
	return append(out, ev.by["by "+caller]...)
}

// stands reports whether something is withdrawn in the state at index.
func (w *withdrawal) stands(index uint64) bool {
	return w.index != 0 && index >= w.index && (w.final || w.regained != 0 && index < w.regained)
}

// newestFenced returns, for a moment, the withdrawal with the highest index of those
// that were fenced before; nil when there is none.
func (ev *evidence) newestFenced() func(ns int64) *withdrawal {
	var order, best []*withdrawal
	for _, w := range ev.withdrawals {
		if w.fencedNS != 0 && w.index != 0 {
			order = append(order, w)
		}
	}
	slices.SortFunc(order, func(a, b *withdrawal) int { return cmp.Compare(a.fencedNS, b.fencedNS) })
	for i, w := range order {
		if i > 0 && best[i-1].index > w.index {
			w = best[i-1]
		}
		best = append(best, w)
	}
	return func(ns int64) *withdrawal {
		n, _ := slices.BinarySearchFunc(order, ns, func(w *withdrawal, ns int64) int { return cmp.Compare(w.fencedNS, ns) })
		if n == 0 {
			return nil
		}
		return best[n-1]
	}
}

// resolve asks for the index of withdrawals whose answer was lost.
func (r *trial) resolve(t *testing.T) {
	t.Helper()
	for _, w := range r.withdrawals {
		if w.index != 0 {
			continue
		}
		op, err := r.c.admin.Operation(ctx(t), w.request, client.Consistency(wire.Linearizable))
		switch {
		case err == nil && op.Error == nil && op.Committed != nil:
			w.index = op.Committed.Index
		case err != nil && wire.CodeOf(err) != wire.OperationNotFound:
			t.Errorf("ask for %s of %s: %v", w.what, w.key, err)
		}
	}
}

// gates: once R is fenced, nobody passes the release gate by a state older than R,
// whatever the key; and with what is withdrawn nobody passes it by a later state
// either, until it is given back. An event counts from before its look began.
func (ev *evidence) gates() (found []string) {
	newest := ev.newestFenced()
	for _, e := range ev.events {
		if e.Name != "gate" {
			continue
		}
		if w := newest(e.BegunNS); w != nil && e.Index < w.index {
			found = append(found, fmt.Sprintf("%s passed the gate with %s by state %d, %s after the %s of %s at %d was fenced",
				e.node.name, e.Key, e.Index, time.Duration(e.BegunNS-w.fencedNS), w.what, w.key, w.index))
		}
		for _, w := range ev.about(e.Key, e.Version, e.Caller) {
			if w.stands(e.Index) {
				found = append(found, fmt.Sprintf("%s passed the gate with %s by state %d, in which its %s at %d stands", e.node.name, e.Key, e.Index, w.what, w.index))
			}
		}
	}
	return found
}

// acknowledged: a process that has vouched for an index has nobody in its gate any
// more who goes by an older state. Both stand in its own record, in order.
func (ev *evidence) acknowledged() (found []string) {
	type process struct {
		n   *node
		pid int
	}
	vouched := map[process]uint64{}
	for _, e := range ev.events {
		p := process{e.node, e.PID}
		switch {
		case e.Name == "ack":
			vouched[p] = max(vouched[p], e.Index)
		case e.Name == "gate" && e.Index < vouched[p]:
			found = append(found, fmt.Sprintf("%s passed the gate with %s by state %d and had vouched for %d", e.node.name, e.Key, e.Index, vouched[p]))
		}
	}
	return found
}

// vouched returns the highest index that a node had acknowledged at a moment.
func (ev *evidence) vouched() func(node string, ns int64) uint64 {
	acks := map[string][]event{} // of each node, with what it had vouched for by then
	for _, e := range ev.events {
		if e.Name == "ack" {
			name := e.node.name
			if n := len(acks[name]); n > 0 {
				e.Index = max(e.Index, acks[name][n-1].Index)
			}
			acks[name] = append(acks[name], e)
		}
	}
	return func(node string, ns int64) uint64 {
		list := acks[node]
		n, _ := slices.BinarySearchFunc(list, ns, func(e event, ns int64) int { return cmp.Compare(e.NS, ns) })
		if n == 0 {
			return 0
		}
		return list[n-1].Index
	}
}

// settledAcceptances: once R is settled, no client of ours accepts a signature that
// needed what was withdrawn and was admitted before.
func (ev *evidence) settledAcceptances() (found []string) {
	for _, a := range ev.accepted {
		for _, w := range ev.about(a.key, a.version, a.caller) {
			if a.sdk && w.settledNS != 0 && a.at > w.settledNS && a.index < w.index {
				found = append(found, fmt.Sprintf("a signature of %s by %s was accepted %s after the %s at %d was settled",
					a.key, a.node, time.Duration(a.at-w.settledNS), w.what, w.index))
			}
		}
	}
	return found
}

// sdkDeadline is D; noticed is how late the test may be to look at its clock.
const (
	sdkDeadline = 2 * time.Second
	noticed     = 400 * time.Millisecond
)

// lateAcceptances: our client believes nothing that comes later than D after it
// asked. One call may try several times; the last attempt began after the call, so
// only calls that could hold one attempt are looked at.
func (ev *evidence) lateAcceptances() (found []string) {
	for _, a := range ev.accepted {
		if took := time.Duration(a.at - a.call); a.sdk && took > 4*time.Second+noticed {
			found = append(found, fmt.Sprintf("a signature of %s by %s was accepted %s after it was asked for, past all deadlines", a.key, a.node, took))
		}
	}
	return found
}

// strictRecords: every strict signature stands in the log before the revocation.
func (ev *evidence) strictRecords() (found []string) {
	for _, a := range ev.accepted {
		if !ev.strict[a.key] {
			continue
		}
		if !a.strict || a.record == 0 {
			found = append(found, fmt.Sprintf("a signature of the strict key %s by %s names no record", a.key, a.node))
			continue
		}
		for _, w := range ev.about(a.key, a.version, a.caller) {
			if w.stands(a.record) {
				found = append(found, fmt.Sprintf("a strict signature of %s by %s is recorded at %d, after the %s at %d", a.key, a.node, a.record, w.what, w.index))
			}
		}
	}
	return found
}

// rounding of wall clocks to milliseconds, on both sides.
const rounding = 2

// goodAnswers: good is said of no state in which the key is withdrawn, of none that is
// older than allowed, by no node that has vouched for a newer one, and not as of a time
// after the withdrawal was answered.
func (ev *evidence) goodAnswers() (found []string) {
	vouched := ev.vouched()
	for _, a := range ev.answers {
		if a.status != wire.Good {
			continue
		}
		if index := vouched(a.node, a.call); a.index < index {
			found = append(found, fmt.Sprintf("%s said good of %s by state %d, and had vouched for %d before it was asked", a.node, a.key, a.index, index))
		}
		if age := a.askedAt - a.asOf; age > statusBound.Milliseconds()+rounding {
			found = append(found, fmt.Sprintf("%s said good of %s at level %s from a state that was %d ms old", a.node, a.key, a.level, age))
		}
		for _, w := range ev.about(a.key, a.version, "") {
			if w.stands(a.index) {
				found = append(found, fmt.Sprintf("%s said good of %s by state %d, in which its %s at %d stands", a.node, a.key, a.index, w.what, w.index))
			}
			if w.index != 0 && w.reached != "" && a.asOf > w.answeredAt+rounding && a.index < w.index {
				found = append(found, fmt.Sprintf("%s said good of %s as of %d ms after its %s at %d was answered", a.node, a.key, a.asOf-w.answeredAt, w.what, w.index))
			}
		}
	}
	return found
}

// linearizable asks porcupine about the lifecycle operations and reads.
func (r *trial) linearizable(t *testing.T) []string {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(keyModel, r.history, 2*time.Minute)
	if result == porcupine.Ok {
		return nil
	}
	path := artifact(t, "history.html")
	if err := porcupine.VisualizePath(keyModel, info, path); err != nil {
		t.Error("draw the history:", err)
	}
	if result == porcupine.Unknown {
		t.Errorf("the history of %d operations could not be judged in time (inconclusive): see %s", len(r.history), path)
		return nil
	}
	return []string{"the history is not linearizable: see " + path}
}

// unaudited finds signatures that a caller holds and that are no intent in the
// journal of the node that made them.
func (r *trial) unaudited(t *testing.T) (found []string) {
	t.Helper()
	held := map[string]map[string]bool{}
	for _, a := range r.accepted {
		if held[a.node] == nil {
			held[a.node] = map[string]bool{}
		}
		held[a.node][a.request] = true
	}
	since := client.Query(wire.QuerySince, r.since.Add(-time.Second).UTC().Format(time.RFC3339))
	for _, n := range r.c.nodes {
		want := held[n.name]
		err := client.All(func(page ...client.Option) (wire.List[wire.AuditRecord], error) {
			return r.c.admin.Audit(ctx(t), append(page, client.At(n.api), since)...)
		}, func(a wire.AuditRecord) error {
			if a.Kind == string(audit.SignIntent) {
				delete(want, a.RequestID)
			}
			return nil
		})
		if err != nil {
			t.Errorf("read the journal of %s: %v", n.name, err)
		}
		if len(want) > 0 {
			found = append(found, fmt.Sprintf("%d signatures of %s are not in its journal", len(want), n.name))
		}
	}
	return found
}
