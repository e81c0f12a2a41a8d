package daemon

import (
	"context"
	"time"
)

// lookAtSpaceEvery: what raft's log and the journal have reserved for themselves lasts
// longer than that.
const lookAtSpaceEvery = 500 * time.Millisecond

// diskFull is what everybody is told while the reserve is given up.
const diskFull = "its disk is full: free some space under data_dir; meanwhile it only withdraws"

// lookAtSpace gives the reserve up or takes it back, and tells.
func (d *Daemon) lookAtSpace() (full bool) {
	changed, err := d.reserve.Tend()
	if err != nil {
		if text := err.Error(); text != d.spaceTrouble {
			d.spaceTrouble = text
			d.log.Warn("keep space in reserve", "err", err)
		}
	} else {
		d.spaceTrouble = ""
	}
	full = d.reserve.Full()
	d.full.Store(full)
	switch {
	case changed && full:
		d.log.Error("the disk is full, and what was held in reserve is given up: revoke and suspend go on, nothing else is changed or signed here",
			"data_dir", d.place.dir.Root(), "next", "free some space under data_dir; this node takes up its work by itself")
	case changed:
		d.log.Info("there is room on the disk again", "data_dir", d.place.dir.Root())
	}
	return full
}

// tendSpace looks as long as the node runs. A leader whose disk is full hands over, once:
// another may have room, and one that has none either would only hand it back.
func (d *Daemon) tendSpace(ctx context.Context) {
	tick := time.NewTicker(lookAtSpaceEvery)
	defer tick.Stop()
	handed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch full := d.lookAtSpace(); {
		case !full:
			handed = false
		case !handed && d.node.Leadership().Self:
			handed = true
			d.handOver(ctx)
		}
	}
}

func (d *Daemon) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := d.node.TransferLeadership(ctx, ""); err != nil {
		d.log.Warn("hand leadership over, because the disk is full", "err", err)
	}
}
