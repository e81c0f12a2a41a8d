package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// Snapshot cuts a snapshot now.
func (n *Node) Snapshot() error {
	if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("cut a snapshot: %w", err)
	}
	return nil
}

// WriteSnapshot cuts a snapshot and writes it out, verified by whoever reads it.
func (n *Node) WriteSnapshot(_ context.Context, w io.Writer) error {
	f := n.raft.Snapshot()
	if err := f.Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("cut a snapshot: %w", err)
	}
	list, err := n.fsm.Snapshots().List()
	if err != nil || len(list) == 0 {
		return errors.Join(errors.New("write a snapshot: there is none"), err)
	}
	_, r, err := n.fsm.Snapshots().Open(list[0].ID)
	if err != nil {
		return fmt.Errorf("open the snapshot: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("write the snapshot: %w", err)
	}
	return nil
}

// LastSnapshotAt is when the newest snapshot was cut, zero when there is none.
func (n *Node) LastSnapshotAt() time.Time {
	at := n.snapshotAt.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMilli(at)
}

// keepSnapshots cuts one when enough bytes were applied since the last.
func (n *Node) keepSnapshots(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n.fsm.Replaying() || !n.fsm.SnapshotDue() {
			continue
		}
		if err := n.Snapshot(); err != nil {
			n.Logger.Warn("cut a snapshot", "node", n.ID.Short(), "err", err)
			continue
		}
		n.snapshotAt.Store(n.Wall().UnixMilli())
	}
}
