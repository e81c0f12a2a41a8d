package consumer

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	maxFetches  = 1000 // remembered or on their way to the leader
	maxShadows  = 1000 // who fetches and is not registered
	maxAgentLen = 100  // of a User-Agent
)

// Visit is one fetch of a trust set.
type Visit struct {
	Set       *publish.TrustSet
	Unchanged bool   // it came with the matching entity tag
	Remote    string // host:port
	Agent     string // User-Agent
	Token     string // bearer token, "" = none was shown
}

// Fetch is weak evidence: a consumer's credential asked for a set that it had already.
type Fetch struct {
	Consumer string          `json:"consumer"`
	Instance string          `json:"instance"` // its address
	Key      lifecycle.KeyID `json:"key"`
	Digest   string          `json:"digest"`
}

// Shadow is somebody who fetches a trust set and is not registered.
type Shadow struct {
	Key     lifecycle.KeyID // "" = the well-known set
	Prefix  string
	Agent   string
	Count   uint64
	FirstAt lifecycle.Instant
	LastAt  lifecycle.Instant
}

type fetchKey struct {
	consumer, instance string
	key                lifecycle.KeyID
	digest             string
}

// fetches are the weak evidence that is on its way, and what was sent lately.
type fetches struct {
	mu    sync.Mutex // owns what follows
	seen  map[fetchKey]lifecycle.Instant
	queue []Fetch
}

type shadowKey struct {
	key    lifecycle.KeyID
	prefix string
}

type shadows struct {
	mu   sync.Mutex // owns seen
	seen map[shadowKey]*Shadow
}

// Fetched takes note of a fetch. It is called for every one, so it looks at memory only
// and never fails: what it has no room for it forgets.
func (d *Desk) Fetched(v *state.View, visit Visit) {
	if visit.Token != "" {
		if c, err := authority.Authenticate(v, authority.Credential{Token: visit.Token}, d.Clock()); err == nil {
			if con := v.Consumer(c.Principal); con != nil && con.RetiredAt == 0 && con.Lists(visit.Set.Key) {
				d.fetched(con, visit)
				return
			}
		}
	}
	d.shadow(visit)
}

// fetched queues weak evidence, once in half of its lifetime. A required consumer has
// to say what it loaded: for it a fetch counts for nothing.
func (d *Desk) fetched(con *lifecycle.Consumer, visit Visit) {
	addr, ok := address(visit.Remote)
	if !visit.Unchanged || con.Class == lifecycle.Required || !ok {
		return
	}
	label := addr.String()
	if label[0] == ':' {
		label = "0" + label // ::1: a label begins with a letter or digit
	}
	k := fetchKey{con.Name, label, visit.Set.Key, visit.Set.Digest}
	now := d.now()
	f := &d.fetches
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, known := f.seen[k]; known && now < at.Add(con.Lifetime/2) {
		return
	}
	if len(f.queue) >= maxFetches {
		return
	}
	if len(f.seen) >= maxFetches {
		clear(f.seen) // some are sent twice: the leader sees that it knows them
	}
	f.seen[k] = now
	f.queue = append(f.queue, Fetch{Consumer: con.Name, Instance: k.instance, Key: k.key, Digest: k.digest})
}

// shadow counts who is not registered, by address prefix. When there are too many, who
// was silent the longest is forgotten.
func (d *Desk) shadow(visit Visit) {
	addr, ok := address(visit.Remote)
	if !ok {
		return
	}
	bits := 24
	if addr.Is6() {
		bits = 56
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return // no address of a host
	}
	k, now := shadowKey{visit.Set.Key, prefix.String()}, d.now()
	s := &d.shadows
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.seen[k]
	if row == nil {
		if len(s.seen) >= maxShadows {
			s.forget()
		}
		row = &Shadow{Key: k.key, Prefix: k.prefix, FirstAt: now}
		s.seen[k] = row
	}
	row.Count++
	row.LastAt, row.Agent = now, agent(visit.Agent)
}

func (s *shadows) forget() {
	var oldest shadowKey
	var at lifecycle.Instant
	for k, row := range s.seen {
		if at == 0 || row.LastAt < at {
			oldest, at = k, row.LastAt
		}
	}
	delete(s.seen, oldest)
}

// Shadows lists them by key and prefix.
func (d *Desk) Shadows() []Shadow {
	d.shadows.mu.Lock()
	defer d.shadows.mu.Unlock()
	out := make([]Shadow, 0, len(d.shadows.seen))
	for _, s := range d.shadows.seen {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Shadow) int {
		if c := strings.Compare(string(a.Key), string(b.Key)); c != 0 {
			return c
		}
		return strings.Compare(a.Prefix, b.Prefix)
	})
	return out
}

func address(remote string) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr().Unmap().WithZone(""), true
}

// agent is what is kept of a User-Agent: it came from anybody, and ends up on terminals.
func agent(s string) string {
	if len(s) > maxAgentLen {
		s = s[:maxAgentLen]
	}
	if !lifecycle.Printable(s) {
		return ""
	}
	return s
}

// sendFetches brings what is queued to the leader, which may be this node. What does
// not arrive is lost: it was weak.
func (d *Desk) sendFetches(ctx context.Context) {
	d.fetches.mu.Lock()
	queue := d.fetches.queue
	d.fetches.queue = nil
	d.fetches.mu.Unlock()
	if len(queue) == 0 {
		return
	}
	switch l := d.Ledger.Leadership(); {
	case l.Self:
		if err := d.TakeFetches(queue); err != nil {
			d.Log.Debug("take fetches in", "err", err)
		}
	case l.Leader != "":
		if err := d.Peers.ReportFetches(ctx, l.Leader, queue); err != nil {
			d.Log.Debug("report fetches to the leader", "node", l.Leader.Short(), "err", err)
		}
	}
}

// TakeFetches queues weak evidence for the log, on the leader. What is not so (any
// more) is left out: only what is said of the set as it is now counts.
func (d *Desk) TakeFetches(list []Fetch) error {
	if l := d.Ledger.Leadership(); !l.Self || !l.Ready {
		return ledger.ErrNotLeader
	}
	if len(list) > maxFetches {
		return refuse(codeInvalid, "", "%d fetches: at most %d are taken", len(list), maxFetches)
	}
	v := d.Ledger.View()
	for _, f := range list {
		con := v.Consumer(f.Consumer)
		if con == nil || con.RetiredAt != 0 || con.Class == lifecycle.Required || !con.Lists(f.Key) || lifecycle.CheckInstanceLabel(f.Instance) != nil {
			continue
		}
		set, err := d.Sets.Set(v, f.Key)
		if err != nil || set.Digest != f.Digest {
			continue
		}
		loaded := command.LoadedSet{Key: f.Key, Digest: set.Digest}
		for _, i := range set.Instances {
			loaded.KIDs = append(loaded.KIDs, i.KID)
		}
		item := command.ConfirmationItem{Consumer: con.Name, Instance: f.Instance, Weak: true}
		if len(loaded.KIDs) > command.MaxKIDs || !d.weakNews(v, con, &loaded, &item) {
			continue
		}
		if _, err := d.intake.add(loaded, item); err != nil {
			return err
		}
	}
	return nil
}

// weakNews is isNews for a fetch, which adds nothing to what was said outright.
func (d *Desk) weakNews(v *state.View, con *lifecycle.Consumer, set *command.LoadedSet, item *command.ConfirmationItem) bool {
	if old := v.Confirmation(con.Name, set.Key, item.Instance); old != nil && !old.Weak && old.Standing(d.now()) {
		return false
	}
	return d.isNews(v, con, set, item)
}
