package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/peer"
)

// introduceEvery is how often a node compares what the log says of it with what
// it is.
const introduceEvery = 2 * time.Second

// introduce keeps this node's row true: where it is, what it runs, which data
// directory it has; and keeps gossip joined.
func (d *Daemon) introduce(ctx context.Context) {
	d.seeds = d.place.member.Seeds
	tick := time.NewTicker(introduceEvery)
	defer tick.Stop()
	for {
		if err := d.introduceOnce(ctx); err != nil {
			d.log.Debug("introduce this node", "err", err)
		}
		if err := d.rememberMembers(); err != nil {
			d.log.Warn("remember the members", "err", err)
		}
		d.joinGossip()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *Daemon) introduceOnce(ctx context.Context) error {
	row := d.node.View().Node(d.node.NodeID())
	if row == nil {
		// A rebuilt node knows nothing of itself until it replicates again, and it
		// replicates only once the cluster knows its new incarnation.
		return d.reportIncarnation(ctx)
	}
	if row.Status == lifecycle.Removed {
		return errors.New("this node was removed from the cluster")
	}
	want := d.update()
	if row.Incarnation == d.place.dir.Incarnation() {
		want.Incarnation = ""
	}
	if want.Incarnation == "" && row.Addrs == want.Addrs && row.MaxFormat == want.MaxFormat && row.Version == want.Version && row.Driver == want.Driver {
		return nil
	}
	return d.reporter.update(ctx, want)
}

func (d *Daemon) update() command.UpdateNode {
	return command.UpdateNode{ID: d.node.NodeID(), Addrs: d.config.addrs(), MaxFormat: command.MaxFormat, Version: d.version,
		Driver: d.config.KeyStore.Driver, Incarnation: d.place.dir.Incarnation()}
}

// reportIncarnation tells every node this one was told of, until the leader among
// them has heard it.
func (d *Daemon) reportIncarnation(ctx context.Context) error {
	last := errors.New("no other node is known")
	for id := range d.seeds {
		if id == d.node.NodeID() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, reportTimeout)
		_, err := peer.Call[command.UpdateNode, state.Outcome](ctx, d.client, id, verbUpdate, d.update())
		cancel()
		if err == nil {
			return nil
		}
		last = err
	}
	return fmt.Errorf("report the new incarnation: %w", last)
}

// rememberMembers keeps the list of members on disk, outside the state: after a
// rebuild it is all that a node knows of the others.
func (d *Daemon) rememberMembers() error {
	now := d.node.Members()
	if len(now) == 0 || maps.Equal(now, d.seeds) {
		return nil
	}
	d.mux.Recheck() // whoever left loses its connections
	m := d.place.member
	m.Seeds = now
	if err := d.place.writeMembership(m); err != nil {
		return err
	}
	d.seeds = now
	return nil
}

// joinGossip contacts the members that gossip does not hear.
func (d *Daemon) joinGossip() {
	gossip := d.gossip.Load()
	if gossip == nil {
		return
	}
	heard := map[lifecycle.NodeID]bool{}
	for _, id := range gossip.Alive() {
		heard[id] = true
	}
	var missing []string
	for _, n := range d.node.View().Nodes() {
		if n.Status != lifecycle.Removed && !heard[n.ID] && n.Addrs.Gossip != "" {
			missing = append(missing, n.Addrs.Gossip)
		}
	}
	if err := gossip.Join(missing); err != nil {
		d.log.Debug("join gossip", "err", err)
	}
}
