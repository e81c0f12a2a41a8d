package daemon

import (
	"context"
	"encoding/json"
	"time"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// eventBody is an event as a webhook is told of it.
func (d *Daemon) eventBody(v *state.View, hook string, number uint64, leaf *state.Leaf) ([]byte, error) {
	return json.Marshal(wire.EventClaims{Event: transport.Event(v, leaf), Cluster: v.Cluster().ID, Webhook: hook, Number: number,
		SentBy: transport.NodeName(v, d.node.NodeID()), NodeID: string(d.node.NodeID()), SentAt: wire.AsTime(time.Now())})
}

func (d *Daemon) signEvent(ctx context.Context, payload []byte) (string, error) {
	return d.attestor.Sign(ctx, wire.TypEvent, payload, time.Now())
}

// failingWebhooks counts the webhooks that are behind because they do not answer.
func failingWebhooks(v *state.View) (n int) {
	c := v.Cluster()
	if c == nil {
		return 0
	}
	for _, w := range c.Settings.Webhooks {
		if d := v.Delivery(w.Name); d != nil && d.FailingSince != 0 {
			n++
		}
	}
	return n
}
