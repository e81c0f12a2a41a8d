package state

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Delivery is how far a webhook has come, nil when there is no such webhook.
func (v *View) Delivery(webhook string) *lifecycle.Delivery {
	return viewGet[lifecycle.Delivery](v, TableDeliveries, webhook)
}

// keepDeliveries gives every webhook its row: a new one is told of what comes after the
// entry that made it. One that is gone loses its row, and so its place in the log.
func (x *tx) keepDeliveries(hooks []lifecycle.Webhook) {
	wanted := lifecycle.Settings{Webhooks: hooks}
	for _, d := range list[lifecycle.Delivery](x.hot.freeze(), TableDeliveries, "") {
		if wanted.Webhook(d.Webhook) == nil {
			x.drop(TableDeliveries, d.Webhook)
		}
	}
	for i := range hooks {
		name := hooks[i].Name
		if get[lifecycle.Delivery](x, TableDeliveries, name) == nil {
			put(x, TableDeliveries, name, &lifecycle.Delivery{Webhook: name, After: x.index})
		}
	}
}

// noteDelivered never goes back, and passes over webhooks that are gone by now.
func (x *tx) noteDelivered(c *command.NoteDelivered) Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself says what its webhooks delivered")
	}
	for _, i := range c.Items {
		old := get[lifecycle.Delivery](x, TableDeliveries, i.Webhook)
		if old == nil {
			continue
		}
		if i.After >= x.index {
			return refuse(Invalid, i.Webhook, "entry %d is not there yet: nothing of it can have been delivered", i.After)
		}
		d := *old
		if i.After > d.After {
			d.After, d.At = i.After, x.now()
		}
		switch {
		case i.Why == "":
			d.FailingSince = 0
		case d.FailingSince == 0 || i.After > old.After:
			d.FailingSince = x.now()
		}
		d.Why = i.Why
		put(x, TableDeliveries, d.Webhook, &d)
	}
	return Outcome{}
}
