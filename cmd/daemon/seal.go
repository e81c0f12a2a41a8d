package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/seal"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// sealsFile is in the data directory: orders outlive a rebuild of log and state.
const sealsFile = "seals.json"

// SealRequest orders a node, on its own machine, not to sign.
type SealRequest struct {
	Key    string `json:"key,omitempty"` // "" = every key
	Reason string `json:"reason"`
}

// SealAnswer says that the order is in force.
type SealAnswer struct {
	Node   string    `json:"node"`
	ID     string    `json:"id"`
	Key    string    `json:"key,omitempty"`
	Reason string    `json:"reason"`
	At     wire.Time `json:"at"` // of the order in force, which may be an earlier one
	By     string    `json:"by"`
	Kept   bool      `json:"kept"`          // it outlives a restart
	Why    string    `json:"why,omitempty"` // not kept
}

func openSeals(p *place) (*seal.List, error) {
	return seal.Open(filepath.Join(p.dir.Root(), sealsFile), func(path string, b []byte) error {
		return disk.WriteFileAtomic(path, b, disk.FileMode)
	})
}

// sealHere puts an order in force. When it returns, whoever was inside the release
// gate without having seen the order has left it. The audit journal comes last: an
// order that takes rights away does not wait for a disk.
func (d *Daemon) sealHere(req SealRequest, by string) (*SealAnswer, error) {
	if req.Reason == "" {
		return nil, wire.Errorf(wire.Invalid, "a seal needs a reason").WithHint("--reason 'stolen laptop, ticket 4711'")
	}
	key := lifecycle.KeyID(req.Key)
	if key != "" && d.node.View().Key(key) == nil {
		return nil, wire.Errorf(wire.KeyNotFound, "this node knows no key %.100q", req.Key).WithHint("chancery key list; without --key the whole node is sealed")
	}
	var id [8]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	order := lifecycle.Seal{ID: hex.EncodeToString(id[:]), Key: key, Reason: req.Reason, By: by, At: lifecycle.Instant(time.Now().UnixMilli())}
	inForce, err := d.seals.Add(order)
	if err != nil && !errors.Is(err, seal.ErrNotKept) {
		return nil, wire.Errorf(wire.Invalid, "%v: nothing was sealed", err)
	}
	d.drain(d.node.View())
	d.log.Warn("sealed on this machine: it signs no more until the cluster lifts it", "key", req.Key, "reason", req.Reason, "by", by, "seal", inForce.ID)
	answer := &SealAnswer{Node: d.config.NodeName, ID: inForce.ID, Key: req.Key, Reason: inForce.Reason, At: wire.Time(inForce.At), By: inForce.By, Kept: err == nil}
	if err != nil {
		answer.Why = err.Error()
		d.log.Error("keep a seal", "seal", inForce.ID, "err", err)
	}
	if err := d.journal.AppendAsync(audit.Record{Kind: audit.Decision, Principal: by, Verb: "node.seal", Key: req.Key, Allowed: true, Detail: inForce.ID + ": " + req.Reason}); err != nil {
		d.log.Error("record a seal", "seal", inForce.ID, "err", err)
	}
	return answer, nil
}

// sealTick is how often orders are compared with what the cluster knows of them.
const sealTick = 250 * time.Millisecond

// tendSeals tells the cluster of this node's orders, as soon and as often as it takes,
// and forgets those that the cluster has lifted.
func (d *Daemon) tendSeals(ctx context.Context) {
	tick := time.NewTicker(sealTick)
	defer tick.Stop()
	said := ""
	for {
		if len(d.seals.All()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-d.seals.Added():
			}
		}
		for _, s := range d.seals.All() {
			err := d.tendSeal(ctx, s)
			if err != nil && err.Error() != said && ctx.Err() == nil {
				said = err.Error()
				d.log.Warn("tell the cluster of a seal; it is in force here, and told again", "seal", s.ID, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *Daemon) tendSeal(ctx context.Context, s lifecycle.Seal) error {
	row := d.node.View().Node(d.node.NodeID())
	if row == nil {
		return errors.New("this node is not a member yet")
	}
	switch known := row.Seal(s.ID); {
	case known == nil:
		return d.reporter.seal(ctx, command.ReportSeal{Node: row.ID, ID: s.ID, Key: s.Key, Reason: s.Reason, By: s.By, SealedAt: s.At})
	case known.LiftedAt != 0:
		if err := d.seals.Remove(s.ID); err != nil {
			return err
		}
		d.log.Warn("a seal was lifted", "key", s.Key, "seal", s.ID, "by", known.LiftedBy)
	}
	return nil
}

func (r *reporter) seal(ctx context.Context, c command.ReportSeal) error {
	_, err := report(ctx, r, verbSeal, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.ReportSeal(ctx, &c) })
	return err
}

// sealedWhole says why the node as a whole does not sign, "" when it may.
func sealedWhole(l *seal.List) string {
	s := l.Covering("")
	if s == nil {
		return ""
	}
	return fmt.Sprintf("it was sealed at %s by %s: %s", s.At, s.By, s.Reason)
}
