package evidence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// How much is known of one node.
const (
	Complete    = "complete"    // every signature in the range is counted, or listed as open
	Partial     = "partial"     // the node answered, and not for all of the range
	Unreachable = "unreachable" // it did not answer: what is known is its last tally
	Removed     = "removed"     // it is no member any more and was not asked; likewise
)

// NodeReport is what is known of one node.
type NodeReport struct {
	Node    string // name
	ID      lifecycle.NodeID
	State   string
	KnownAt lifecycle.Instant // everything released before is counted; 0 = nothing is known
	Why     string            // what is missing, "" when complete
	Answer  Answer            // its own count in the range; empty when it did not answer
	// Of the instances in question, since they were made, up to the node's last tally.
	Tallied, TalliedOpen uint64
	TalliedAt            lifecycle.Instant // 0 = it has reported none
	// Missing counts released signatures that were tallied and are in no ledger, known
	// only when the range begins before the key was made.
	Missing uint64
}

// Report is the answer of all nodes together.
type Report struct {
	Complete bool
	Released uint64 // by those who answered, in the range
	Open     uint64
	Callers  []CallerCount
	Others   uint64
	Entries  []Entry // a page of all ledgers, oldest first
	OpenUses []Entry
	Nodes    []NodeReport
	Next     string // cursor of the next page, "" = no more
}

// Fetch asks one node.
type Fetch func(ctx context.Context, node lifecycle.NodeID, ask Ask) (Answer, error)

// CollectTimeout bounds the wait for the slowest node.
const CollectTimeout = SearchTimeout + 2*time.Second

// Collect asks every node that ever held an instance of the key, at once, and waits for
// none longer than CollectTimeout. cursor is that of the page before, "" for the first;
// only the first has counts.
func Collect(ctx context.Context, v *state.View, fetch Fetch, ask Ask, cursor string) (Report, error) {
	after, err := parseCursor(cursor)
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, CollectTimeout)
	defer cancel()
	ask.Summary = cursor == ""
	var r Report
	for _, id := range holders(v, ask) {
		if _, listed := after[id]; cursor == "" || listed {
			r.Nodes = append(r.Nodes, nodeReport(v, id, ask))
		}
	}
	var wg sync.WaitGroup
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.State == Removed {
			continue
		}
		wg.Go(func() {
			own := ask
			own.AfterSeq = after[n.ID]
			a, err := fetch(ctx, n.ID, own)
			n.judge(v, ask, a, err)
		})
	}
	wg.Wait()
	r.merge(ask, after)
	return r, nil
}

// holders are the nodes with an instance in question, in id order.
func holders(v *state.View, ask Ask) (out []lifecycle.NodeID) {
	for _, ver := range v.Versions(lifecycle.KeyID(ask.Key)) {
		for _, i := range v.Instances(ver.Key, ver.Number) {
			if i.KID != "" && ask.covers(i.Version, i.KID) && !slices.Contains(out, i.Node) {
				out = append(out, i.Node)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (a *Ask) covers(version uint64, kid string) bool {
	return (a.Version == 0 || a.Version == version) && (a.KID == "" || a.KID == kid)
}

// nodeReport is what the replicated state says, before the node is asked.
func nodeReport(v *state.View, id lifecycle.NodeID, ask Ask) NodeReport {
	r := NodeReport{Node: id.Short(), ID: id}
	for _, t := range v.Tallies(lifecycle.KeyID(ask.Key)) {
		if t.Node == id && ask.covers(t.Version, t.KID) {
			r.Tallied, r.TalliedOpen = r.Tallied+t.Released, r.TalliedOpen+t.Open
		}
	}
	if h := v.LedgerHead(id); h != nil {
		r.TalliedAt, r.KnownAt = h.At, h.At
	}
	n := v.Node(id)
	if n != nil {
		r.Node = n.Name
	}
	if n == nil || n.Status == lifecycle.Removed {
		r.State, r.Why = Removed, "it was removed from the cluster: of its signatures only the number is known"
	}
	return r
}

// judge says what the node's answer, or its silence, is worth.
func (n *NodeReport) judge(v *state.View, ask Ask, a Answer, err error) {
	if err != nil {
		n.State, n.Why = Unreachable, err.Error()
		if n.KnownAt == 0 {
			n.Why += "; it has never reported what it signed"
		}
		return
	}
	n.Answer, n.State, n.KnownAt = a, Complete, lifecycle.Instant(a.Through.UnixMilli())
	partly := func(format string, args ...any) {
		n.State = Partial
		if n.Why != "" {
			n.Why += "; "
		}
		n.Why += fmt.Sprintf(format, args...)
	}
	if a.Cut != "" {
		partly("%s", a.Cut)
	}
	if a.Rewritten != "" {
		partly("its ledger does not hold: %s", a.Rewritten)
	}
	h := v.LedgerHead(n.ID)
	if h != nil {
		for _, b := range h.Breaks {
			if wall(b.At).After(ask.Since) {
				partly("its ledger began anew at %s: of the one before only the number is known, and of the time after %s nothing", b.At, b.KnownAt)
			}
		}
		if a.HeadSeq < h.Seq {
			partly("its ledger ends at line %d, and line %d was reported: it was cut off", a.HeadSeq, h.Seq)
		}
	}
	if a.FirstSeq > 1 && a.FirstAt.After(ask.Since) {
		partly("its ledger begins at %s: older parts were moved away", a.FirstAt.UTC().Format(time.RFC3339))
	}
	k := v.Key(lifecycle.KeyID(ask.Key))
	whole := ask.Summary && ask.Until.IsZero() && a.Cut == "" && a.Rewritten == "" && k != nil && !ask.Since.After(wall(k.Created.At))
	if whole && n.Tallied > a.Released+a.Open {
		n.Missing = n.Tallied - a.Released - a.Open
		partly("%d signatures that it reported are not in its ledger", n.Missing)
	}
}

// merge puts the answers together. A page ends with the oldest signature up to which
// every node has given what it has.
func (r *Report) merge(ask Ask, after map[lifecycle.NodeID]uint64) {
	r.Complete = true
	callers := map[string]*CallerCount{}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		r.Complete = r.Complete && n.State == Complete
		r.Released, r.Open, r.Others = r.Released+n.Answer.Released, r.Open+n.Answer.Open, r.Others+n.Answer.Others
		for _, c := range n.Answer.Callers {
			if callers[c.Caller] == nil {
				callers[c.Caller] = &CallerCount{Caller: c.Caller}
			}
			callers[c.Caller].Released += c.Released
			callers[c.Caller].Open += c.Open
		}
		r.OpenUses = append(r.OpenUses, n.Answer.OpenUses...)
		r.Entries = append(r.Entries, n.Answer.Entries...)
	}
	for _, c := range callers {
		r.Callers = append(r.Callers, *c)
	}
	sortCallers(r.Callers)
	byTime := func(a, b Entry) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(string(a.Node), string(b.Node)), cmp.Compare(a.Seq, b.Seq))
	}
	slices.SortFunc(r.OpenUses, byTime)
	// Within a node the ledger's order rules: its clock may have been set back.
	r.Entries = mergeLedgers(r.Nodes)
	r.Entries = r.Entries[:min(len(r.Entries), ask.Limit)]
	r.Next = r.cursor(after)
}

// mergeLedgers merges by time without changing the order of any ledger.
func mergeLedgers(nodes []NodeReport) (out []Entry) {
	at := make([]int, len(nodes))
	for {
		best := -1
		for i := range nodes {
			if list := nodes[i].Answer.Entries; at[i] < len(list) && (best < 0 || list[at[i]].At.Before(nodes[best].Answer.Entries[at[best]].At)) {
				best = i
			}
		}
		if best < 0 {
			return out
		}
		out = append(out, nodes[best].Answer.Entries[at[best]])
		at[best]++
	}
}

// cursor names, for each node that has more, the last line that was given.
func (r *Report) cursor(after map[lifecycle.NodeID]uint64) string {
	given, count := map[lifecycle.NodeID]uint64{}, map[lifecycle.NodeID]int{}
	for _, e := range r.Entries {
		given[e.Node], count[e.Node] = e.Seq, count[e.Node]+1
	}
	var parts []string
	for _, n := range r.Nodes {
		if n.Answer.Next == 0 && count[n.ID] == len(n.Answer.Entries) {
			continue // all of it was given, or it did not answer
		}
		seq := given[n.ID]
		if seq == 0 {
			seq = after[n.ID]
		}
		parts = append(parts, string(n.ID)+"."+strconv.FormatUint(seq, 10))
	}
	return strings.Join(parts, "-")
}

func wall(i lifecycle.Instant) time.Time { return time.UnixMilli(int64(i)) }

func parseCursor(s string) (map[lifecycle.NodeID]uint64, error) {
	out := map[lifecycle.NodeID]uint64{}
	if s == "" {
		return out, nil
	}
	for _, part := range strings.Split(s, "-") {
		id, seq, _ := strings.Cut(part, ".")
		n, err := strconv.ParseUint(seq, 10, 64)
		if err != nil || lifecycle.CheckNodeID(lifecycle.NodeID(id)) != nil {
			return nil, fmt.Errorf("the cursor is none that this report gave")
		}
		out[lifecycle.NodeID(id)] = n
	}
	return out, nil
}
