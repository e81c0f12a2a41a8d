package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// hooks are settings with these webhooks.
func (w *world) hooks(names ...string) *command.SetSettings {
	w.Helper()
	return w.settings(func(s *lifecycle.Settings) {
		s.Webhooks = nil
		for _, n := range names {
			s.Webhooks = append(s.Webhooks, lifecycle.Webhook{Name: n, URL: "https://" + n + ".test", Kinds: []string{"key"}})
		}
	})
}

func (w *world) delivered(items ...command.Delivered) state.Outcome {
	w.Helper()
	return w.system(&command.NoteDelivered{Items: items})
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	made := w.ok(w.hooks("chat", "pager")).Index
	d := func(name string) lifecycle.Delivery {
		t.Helper()
		if d := w.l.View().Delivery(name); d != nil {
			return *d
		}
		return lifecycle.Delivery{}
	}
	if got := d("chat"); got.After != made || got.At != 0 || got.FailingSince != 0 {
		t.Errorf("a new webhook is at %+v, want after %d", got, made)
	}
	w.pass(lifecycle.Second)
	size := w.l.View().Position().LogSize
	w.no(state.Invalid, &command.NoteDelivered{Items: []command.Delivered{{Webhook: "chat", After: made + 1}}}) // not the cluster's word
	if o := w.delivered(command.Delivered{Webhook: "chat", After: made + 1}, command.Delivered{Webhook: "pager", After: made, Why: "it answered 502"},
		command.Delivered{Webhook: "gone", After: 1}); !o.OK() {
		t.Fatal(o)
	}
	if got := d("chat"); got.After != made+1 || got.At == 0 {
		t.Errorf("chat is at %+v", got)
	}
	failing := d("pager").FailingSince
	if got := d("pager"); failing == 0 || got.Why != "it answered 502" || got.After != made {
		t.Errorf("pager is at %+v", got)
	}
	if w.l.View().Position().LogSize != size {
		t.Error("a delivery makes events of its own")
	}
	w.pass(lifecycle.Minute)
	w.delivered(command.Delivered{Webhook: "chat", After: 1}, command.Delivered{Webhook: "pager", After: made, Why: "no route"})
	if got := d("chat"); got.After != made+1 {
		t.Errorf("chat went back to %d", got.After)
	}
	if got := d("pager"); got.FailingSince != failing || got.Why != "no route" {
		t.Errorf("pager fails since %+v, want since %s", got, failing)
	}
	if o := w.delivered(command.Delivered{Webhook: "chat", After: 1 << 40}); o.Code != state.Invalid {
		t.Errorf("entries to come were delivered: %+v", o)
	}
	w.delivered(command.Delivered{Webhook: "pager", After: made + 2})
	if got := d("pager"); got.FailingSince != 0 || got.Why != "" || got.After != made+2 {
		t.Errorf("pager works again: %+v", got)
	}

	// Other settings leave the place in the log alone; without the webhook it is lost.
	w.ok(w.hooks("pager", "third"))
	if d("pager").After != made+2 || d("chat").Webhook != "" || d("third").After != w.l.View().Position().Index {
		t.Errorf("pager %+v, chat %+v, third %+v", d("pager"), d("chat"), d("third"))
	}
	w.ok(w.hooks("chat"))
	if got := d("chat"); got.After != w.l.View().Position().Index {
		t.Errorf("a webhook that came back is at %+v", got)
	}
}
