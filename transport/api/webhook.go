package api

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// webhookPatience is how long a receiver may be away before anybody need look.
const webhookPatience = lifecycle.Minute

// webhooks names those that are behind: what they are for, nobody is told of.
func (p *problems) webhooks() {
	for _, w := range p.snap.Cluster().Settings.Webhooks {
		d := p.snap.Delivery(w.Name)
		if d == nil || d.FailingSince == 0 || p.now() < d.FailingSince.Add(webhookPatience) {
			continue
		}
		waiting := p.snap.Position().LogSize
		if first, err := p.snap.LeafAfter(d.After); err == nil { // the number is a help, not the point
			waiting -= first
		}
		p.add(wire.Warning, "webhook_behind", w.Name, "mend the receiver, and it gets what it missed; to pass that over, take the webhook out of the settings and put it in again",
			"webhook %s fails since %s: %s; up to %d events wait for it", w.Name, d.FailingSince, d.Why, waiting)
	}
}
