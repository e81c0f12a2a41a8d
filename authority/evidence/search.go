package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Limits of one answer, which has to fit a message between nodes.
const (
	MaxEntries  = 200 // released signatures on a page, some 450 bytes each
	maxOpen     = 50  // open uses listed; the count is of all
	maxCallers  = 200 // callers told apart; the rest is counted together
	maxPairings = 100_000
	// SearchTimeout bounds the reading of one node's ledger: some three million records.
	SearchTimeout = 8 * time.Second
)

// Ask is a question to one node.
type Ask struct {
	Key      string    `json:"key"`
	Version  uint64    `json:"version,omitempty"` // 0 = all
	KID      string    `json:"kid,omitempty"`     // "" = all
	Since    time.Time `json:"since,omitzero"`    // at or after, by the asked node's clock
	Until    time.Time `json:"until,omitzero"`    // before
	AfterSeq uint64    `json:"after_seq,omitempty"`
	Limit    int       `json:"limit"`   // signatures listed, at most MaxEntries
	Summary  bool      `json:"summary"` // count everything in the range, not only what is listed
}

// Entry is one use of a key.
type Entry struct {
	Seq       uint64           `json:"seq"`
	At        time.Time        `json:"at"`
	Node      lifecycle.NodeID `json:"node"`
	Version   uint64           `json:"version"`
	KID       string           `json:"kid"`
	Caller    string           `json:"caller"`
	Digest    string           `json:"digest"` // of what was signed, hex
	RequestID string           `json:"request_id"`
	Remote    string           `json:"remote,omitempty"`
	Index     uint64           `json:"index"` // strict keys: the entry it stands in; else the state it was admitted on
	Verb      string           `json:"verb"`
	Hash      string           `json:"hash"` // of its line in the ledger
}

// CallerCount is what one caller had signed.
type CallerCount struct {
	Caller   string `json:"caller"`
	Released uint64 `json:"released"`
	Open     uint64 `json:"open,omitempty"`
}

// Answer is what one node's ledger says.
type Answer struct {
	Released  uint64        `json:"released"` // in the range; with Summary
	Open      uint64        `json:"open"`     // uses in the range whose outcome is not on the disk
	Callers   []CallerCount `json:"callers"`  // by number, most first
	Others    uint64        `json:"others"`   // released for callers who are not listed
	Entries   []Entry       `json:"entries"`  // released, oldest first
	OpenUses  []Entry       `json:"open_uses"`
	Next      uint64        `json:"next"`       // AfterSeq of the next page, 0 = no more
	FirstAt   time.Time     `json:"first_at"`   // when the ledger's oldest part was begun
	FirstSeq  uint64        `json:"first_seq"`  // the first line in it, 1 unless parts were moved away
	Through   time.Time     `json:"through"`    // everything recorded before was looked at
	HeadSeq   uint64        `json:"head_seq"`   // the ledger's last line
	HeadHash  string        `json:"head_hash"`  // likewise
	Cut       string        `json:"cut"`        // why it stopped before the end, "" = it did not
	Rewritten string        `json:"unreadable"` // why the ledger cannot be believed from Through on, "" = its chain holds
}

// Search reads this node's ledger. It never blocks a signature. The chain is checked on
// the way: an answer without Rewritten holds what the disk was given.
func Search(ctx context.Context, j Journal, node lifecycle.NodeID, ask Ask, now time.Time) (Answer, error) {
	if err := lifecycle.CheckName("key", ask.Key); err != nil {
		return Answer{}, fmt.Errorf("search the ledger: %w", err)
	}
	if ask.Limit < 0 || ask.Limit > MaxEntries {
		return Answer{}, fmt.Errorf("search the ledger: a page has at most %d signatures", MaxEntries)
	}
	ctx, cancel := context.WithTimeout(ctx, SearchTimeout)
	defer cancel()
	_, head, _ := j.Uses()
	s := &search{ask: ask, node: node, open: map[pairing][]Entry{}, callers: map[string]*CallerCount{},
		out: Answer{Through: now, HeadSeq: head.Seq, HeadHash: head.Hash, Callers: []CallerCount{}, Entries: []Entry{}, OpenUses: []Entry{}}}
	var err error
	if s.out.FirstSeq, s.out.FirstAt, err = j.Oldest(); err != nil {
		return s.unreadable(err)
	}
	// Intents are looked for from before the range: their outcomes stand in it.
	from := ask.Since
	if !from.IsZero() {
		from = from.Add(-time.Minute)
	}
	for e, err := range j.Query(audit.Filter{AfterSeq: ask.AfterSeq, Since: from}) {
		if err != nil {
			return s.unreadable(err)
		}
		if e.Seq%1024 == 0 && ctx.Err() != nil {
			s.out.Cut, s.out.Through = "it is large, and was read no further in the time there is: ask for less, with a later --since", e.At
			break
		}
		if s.take(&e) {
			break
		}
	}
	return s.end(), nil
}

// pairing finds the intent of an outcome.
type pairing struct{ request, kid, digest string }

type search struct {
	ask     Ask
	node    lifecycle.NodeID
	open    map[pairing][]Entry
	opened  int
	callers map[string]*CallerCount
	out     Answer
}

func (s *search) unreadable(err error) (Answer, error) {
	if !errors.Is(err, audit.ErrBroken) {
		return Answer{}, fmt.Errorf("search the ledger: %w", err)
	}
	s.out.Rewritten = err.Error()
	if n := len(s.out.Entries); n > 0 {
		s.out.Through = s.out.Entries[n-1].At
	} else {
		s.out.Through = s.ask.Since
	}
	return s.end(), nil
}

// take looks at one record and says whether that is enough.
func (s *search) take(e *audit.Entry) (enough bool) {
	if e.KID == "" || e.Key != s.ask.Key || s.ask.Version != 0 && e.Version != s.ask.Version || s.ask.KID != "" && e.KID != s.ask.KID {
		return false
	}
	p := pairing{e.RequestID, e.KID, e.Digest}
	switch e.Kind {
	case audit.SignIntent:
		if s.ask.Summary && s.opened < maxPairings {
			s.open[p] = append(s.open[p], s.entry(e))
			s.opened++
		}
		return false
	case audit.SignReleased:
		s.settle(p)
		if !s.within(e.At) {
			return false
		}
		return s.released(e)
	case audit.SignRefused:
		s.settle(p)
	}
	return false
}

func (s *search) settle(p pairing) {
	if list := s.open[p]; len(list) > 1 {
		s.open[p], s.opened = list[1:], s.opened-1
	} else if len(list) == 1 {
		delete(s.open, p)
		s.opened--
	}
}

func (s *search) released(e *audit.Entry) (enough bool) {
	if len(s.out.Entries) == s.ask.Limit {
		if s.out.Next == 0 && s.ask.Limit > 0 {
			s.out.Next = s.out.Entries[s.ask.Limit-1].Seq
		}
		if !s.ask.Summary {
			return true
		}
	} else {
		s.out.Entries = append(s.out.Entries, s.entry(e))
	}
	if s.ask.Summary {
		s.out.Released++
		if c := s.caller(e.Principal); c != nil {
			c.Released++
		} else {
			s.out.Others++
		}
	}
	return false
}

// caller counts a caller, nil when there are too many.
func (s *search) caller(name string) *CallerCount {
	c := s.callers[name]
	if c == nil && len(s.callers) < maxCallers {
		c = &CallerCount{Caller: name}
		s.callers[name] = c
	}
	return c
}

func (s *search) within(at time.Time) bool {
	return !at.Before(s.ask.Since) && (s.ask.Until.IsZero() || at.Before(s.ask.Until))
}

func (s *search) entry(e *audit.Entry) Entry {
	return Entry{Seq: e.Seq, At: e.At, Node: s.node, Version: e.Version, KID: e.KID, Caller: e.Principal, Digest: e.Digest, RequestID: e.RequestID,
		Remote: e.Remote, Index: e.Index, Verb: e.Verb, Hash: e.Hash}
}

// end counts the uses that stayed open and brings lists into order.
func (s *search) end() Answer {
	for _, list := range s.open {
		for _, e := range list {
			if !s.within(e.At) {
				continue
			}
			s.out.Open++
			if c := s.caller(e.Caller); c != nil {
				c.Open++
			}
			s.out.OpenUses = append(s.out.OpenUses, e)
		}
	}
	slices.SortFunc(s.out.OpenUses, func(a, b Entry) int { return int(int64(a.Seq) - int64(b.Seq)) })
	s.out.OpenUses = s.out.OpenUses[:min(len(s.out.OpenUses), maxOpen)]
	for _, c := range s.callers {
		s.out.Callers = append(s.out.Callers, *c)
	}
	sortCallers(s.out.Callers)
	return s.out
}

func sortCallers(list []CallerCount) {
	slices.SortFunc(list, func(a, b CallerCount) int {
		if a.Released != b.Released {
			return int(int64(b.Released) - int64(a.Released))
		}
		return strings.Compare(a.Caller, b.Caller)
	})
}
