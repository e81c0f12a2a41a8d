package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Delivered is how far one webhook has come.
type Delivered struct {
	Webhook string `cbor:"1,keyasint"`
	After   uint64 `cbor:"2,keyasint"`           // events up to this entry have arrived, or were not asked for
	Why     string `cbor:"3,keyasint,omitempty"` // the next one does not arrive; empty = it works
}

// NoteDelivered writes down how far webhooks have come, so that the next leader goes on
// there: what was sent since is sent again. It makes no event, or there would be no end
// of them.
type NoteDelivered struct {
	Items []Delivered `cbor:"1,keyasint"`
}

func (*NoteDelivered) Kind() Kind { return KindNoteDelivered }

func (c *NoteDelivered) Check() error {
	if len(c.Items) == 0 {
		return fmt.Errorf("no webhooks")
	}
	for _, i := range c.Items {
		if err := lifecycle.CheckName("webhook", i.Webhook); err != nil {
			return err
		}
		if err := text("why", i.Why, false); err != nil {
			return err
		}
	}
	return count("webhooks", len(c.Items), lifecycle.MaxWebhooks)
}
