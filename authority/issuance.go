package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/gather"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// Every node gathers what its own certificates have to announce and to record. At the
// leader those parts come together from all nodes, announcements and records alike: what
// is ready while an entry of others is on its way shares the next one. Nobody waits for
// company: a part that comes alone goes at once, as an entry of its own kind.

// issuances brings them to the log.
type issuances = gather.Gatherer[issuancePart, state.Outcome]

// issuancePart is what one node announces or records at a time; one of the two is nil.
type issuancePart struct {
	actor  string
	record *command.RecordIssued
	intent *command.IssueIntents
}

// maxSharedBytes is what the parts of one entry weigh at most: a follower that is behind
// must not be kept from the next heartbeat.
const maxSharedBytes = 256 << 10

// leastItemBytes is what a certificate weighs at least, so that as many of the smallest as
// weigh maxSharedBytes are no more than command.MaxGatheredCerts.
const leastItemBytes = maxSharedBytes / command.MaxGatheredCerts

func newIssuances(s *Service) *issuances {
	return &issuances{Carry: s.carryIssuances, Items: command.MaxGathered, Weight: maxSharedBytes, Weigh: issuancePart.bytes}
}

// bytes is about what the part has in an entry.
func (p issuancePart) bytes() (n int) {
	if p.record != nil {
		for i := range p.record.Items {
			n += max(len(p.record.Items[i].DER)+32, leastItemBytes)
		}
		return n
	}
	for i := range p.intent.Items {
		it := &p.intent.Items[i]
		n += leastItemBytes + len(it.Subject)
		for _, l := range [][]string{it.DNS, it.IPs, it.URIs, it.Emails} {
			for _, name := range l {
				n += len(name) + 2
			}
		}
	}
	return n
}

// alone is the part as an entry of its own.
func (p issuancePart) alone() command.Body {
	if p.record != nil {
		return p.record
	}
	return p.intent
}

// enterIssuance brings what a node announces or records to the log; the node was checked.
func (s *Service) enterIssuance(ctx context.Context, p issuancePart) (state.Outcome, error) {
	var o state.Outcome
	var err error
	if s.View().Cluster().Format < command.MinFormat(command.KindGatherIssuance) {
		o, err = s.ledger.Propose(ctx, s.commandOf(p.actor, p.alone()))
	} else if o, err = s.issuances.Put(ctx, p); err != nil && ctx.Err() != nil && !errors.Is(err, ledger.ErrIndeterminate) {
		err = fmt.Errorf("%w: %w", ledger.ErrIndeterminate, err) // its entry may be on its way
	}
	if err != nil {
		return o, fmt.Errorf("propose %s: %w", p.alone().Kind(), err)
	}
	return o, o.Err()
}

// carryIssuances proposes one entry for the parts of many nodes. Apply judges each by
// itself.
func (s *Service) carryIssuances(ctx context.Context, parts []issuancePart) ([]state.Outcome, error) {
	if len(parts) == 1 {
		o, err := s.ledger.Propose(ctx, s.commandOf(parts[0].actor, parts[0].alone()))
		return []state.Outcome{o}, err
	}
	c, place := &command.GatherIssuance{}, make([]int, 0, len(parts)) // part of each of the entry's
	for i, p := range parts {
		if p.record != nil {
			c.Records, place = append(c.Records, *p.record), append(place, i)
		}
	}
	for i, p := range parts {
		if p.intent != nil {
			c.Announcements, place = append(c.Announcements, *p.intent), append(place, i)
		}
	}
	o, err := s.ledger.Propose(ctx, s.commandOf(systemActor, c))
	if err == nil {
		err = o.Err() // of the entry as a whole: nothing was done
	}
	if err == nil && len(o.Requests) != len(parts) {
		err = fmt.Errorf("%d answers for %d parts", len(o.Requests), len(parts))
	}
	if err != nil {
		return nil, err
	}
	all := make([]state.Outcome, len(parts))
	for i, at := range place {
		all[at] = o.Requests[i]
	}
	return all, nil
}
