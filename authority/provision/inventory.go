package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// inventory compares the whole partition with the log. The View was pinned before
// the store was read, and only our own goroutine changes the store, so whatever the
// View calls ready has been there.
func (r *Reconciler) inventory(ctx context.Context, view *state.View, mine []holding) {
	objects, err := r.list(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		r.inventories = r.inventories.longer(r.clock())
		r.mu.Lock()
		r.state.Err = err.Error()
		r.mu.Unlock()
		r.log.Warn("inventory failed; nothing is concluded from it", "err", err, "retry_in", r.inventories.delay.String())
		return
	}
	r.unreported, r.lacking = false, map[lifecycle.CKAID]bool{}
	byID := map[lifecycle.CKAID][]hsm.Object{}
	for _, o := range objects {
		byID[lifecycle.CKAID(o.ID)] = append(byID[lifecycle.CKAID(o.ID)], o)
	}
	s := State{LastInventoryAt: r.clock(), Objects: len(objects)}
	bound := 0
	for _, h := range mine {
		found := byID[h.i.CKAID]
		delete(byID, h.i.CKAID)
		switch {
		case h.i.Condition == lifecycle.Erased:
			s.Returned += r.returned(h, len(found))
		case !h.wanted():
		case len(found) == 0:
			bound++
			s.Missing += r.missing(ctx, h)
		default:
			bound++
			r.present(ctx, view, h, found)
		}
	}
	s.Orphans = r.strangers(byID)
	s.Wiped = bound > 0 && len(objects) == 0 && s.Missing > 0
	if s.Wiped {
		r.log.Error("the partition is empty: the token was wiped or is another one; the cluster goes on with the other nodes' instances",
			"missing", s.Missing, "token", r.store.Health().Token)
	}
	r.mu.Lock()
	r.state = s
	r.mu.Unlock()
	r.forgetNotes(mine)
	r.inventoryAt = r.clock().Add(r.interval)
	if r.unreported { // said again soon
		r.inventories = r.inventories.longer(r.clock())
		r.inventoryAt = r.inventories.until
	} else {
		r.inventories = pause{}
	}
}

func (r *Reconciler) list(ctx context.Context) ([]hsm.Object, error) {
	ctx, cancel := device(ctx)
	defer cancel()
	objects, err := r.store.Inventory(ctx)
	if err != nil {
		return nil, fmt.Errorf("take inventory: %w", err)
	}
	return objects, nil
}

// wanted: the log has a public key for the instance and counts on the pair.
func (h holding) wanted() bool {
	return h.i.KID != "" && !h.v.Erasing && h.i.Revocation == nil &&
		(h.i.Condition == lifecycle.Ready || h.i.Condition == lifecycle.Lost)
}

// missing reports an instance lost that neither the listing nor a look-up finds.
func (r *Reconciler) missing(ctx context.Context, h holding) int {
	if _, err := r.find(ctx, h.i.CKAID); !errors.Is(err, hsm.ErrNotFound) {
		r.log.Warn("the listing lacks a key pair, but its look-up does not say that it is absent", "key", h.i.Key, "version", h.i.Version, "err", err)
		return 0
	}
	r.lacking[h.i.CKAID] = true
	r.report(ctx, h, lifecycle.Lost, "the key store holds no key pair with this CKA_ID: two look-ups found nothing")
	return 1
}

// present checks what is there under the CKA_ID.
func (r *Reconciler) present(ctx context.Context, view *state.View, h holding, found []hsm.Object) {
	why := ""
	switch {
	case len(found) > 1:
		why = fmt.Sprintf("%d key pairs share its CKA_ID", len(found))
	case !bytes.Equal(found[0].SPKI, h.i.SPKI):
		why = "the key pair under its CKA_ID has another public key"
	}
	if why != "" {
		r.setQuarantine(h.i, why)
		r.report(ctx, h, lifecycle.Lost, why)
		return
	}
	if h.i.Condition == lifecycle.Ready && r.Usable(h.i.Key, h.i.Version) {
		return
	}
	// It was lost or quarantined, and is there again: only a fresh proof counts.
	bind := command.BindInstance{Key: h.i.Key, Version: h.i.Version, Node: h.i.Node, CKAID: h.i.CKAID, SPKI: h.i.SPKI, KID: h.i.KID}
	if _, err := r.prove(ctx, view, h, &bind); err != nil {
		r.log.Warn("key pair found again, but it does not prove itself", "key", h.i.Key, "version", h.i.Version, "err", err)
		return
	}
	r.setQuarantine(h.i, "")
	r.report(ctx, h, lifecycle.Ready, "found again with the same public key and proven")
}

// report tells the log, when it is news.
func (r *Reconciler) report(ctx context.Context, h holding, c lifecycle.Condition, detail string) {
	if h.i.Condition == c {
		return
	}
	err := r.reporter.Report(ctx, command.ReportCondition{Key: h.i.Key, Version: h.i.Version, Node: h.i.Node, Condition: c, Detail: detail})
	if err != nil {
		r.unreported = true
		r.log.Warn("condition not reported", "key", h.i.Key, "version", h.i.Version, "reason", detail, "err", err)
		return
	}
	r.sent[h.i.CKAID] = h.i.Condition
	r.log.Warn("instance reported "+c.String(), "key", h.i.Key, "version", h.i.Version, "cka_id", h.i.CKAID.String(), "reason", detail)
}

// returned counts a pair that was erased and is there again: a token restored from
// a backup. It is never used and never removed.
func (r *Reconciler) returned(h holding, found int) int {
	if found == 0 {
		return 0
	}
	if id := hsm.ObjectID(h.i.CKAID); !r.orphans[id] {
		r.orphans[id] = true
		r.log.Error("a key pair that was erased is in the key store again", "key", h.i.Key, "version", h.i.Version, "cka_id", h.i.CKAID.String())
	}
	return 1
}

// strangers counts objects no intent of this node names.
func (r *Reconciler) strangers(rest map[lifecycle.CKAID][]hsm.Object) (n int) {
	for id, objects := range rest {
		n += len(objects)
		if !r.orphans[hsm.ObjectID(id)] {
			r.orphans[hsm.ObjectID(id)] = true
			r.log.Warn("the key store holds a key pair that no intent names: it is left alone", "cka_id", id.String(), "label", printable(objects[0].Label))
		}
	}
	return n
}

// forgetNotes removes notes of destructions that the log has recorded.
func (r *Reconciler) forgetNotes(mine []holding) {
	noted, err := r.notes.list()
	for _, h := range mine {
		if err == nil && h.i.Condition == lifecycle.Erased && noted[h.i.CKAID.String()] {
			err = r.notes.remove(h.i.CKAID)
		}
	}
	if err != nil {
		r.log.Warn("destruction notes not tidied", "err", err)
	}
}
