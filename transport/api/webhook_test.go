package api

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestWebhookBehind(t *testing.T) {
	n := start(t)
	settings := n.ledger.View().Cluster().Settings
	settings.Webhooks = []lifecycle.Webhook{{Name: "chat", URL: "http://elsewhere.test/hook", Kinds: []string{"key"}}}
	body := wire.SetCluster{Settings: settings}
	match := strconv.Quote(strconv.FormatUint(n.ledger.View().Cluster().Rev, 10))
	refused(t, n.ask("admin", "PUT", wire.PathCluster, body, "If-Match", match), wire.Invalid) // not https
	body.Settings.Webhooks[0].URL = "https://elsewhere.test/hook"
	if r := n.ask("admin", "PUT", wire.PathCluster, body, "If-Match", match); r.status != 200 {
		t.Fatalf("set the webhook: %d %s", r.status, r.body)
	}
	status := func() wire.Status { return get[wire.Status](t, n.ask("auditor", "GET", wire.PathStatus, nil)) }
	after := n.ledger.View().Delivery("chat").After
	n.create(createCI)
	fails := n.ledger.Command(&command.NoteDelivered{Items: []command.Delivered{{Webhook: "chat", After: after, Why: "it answered 502"}}})
	fails.Header.Actor = "system"
	if o, err := n.ledger.Propose(t.Context(), fails); err != nil || !o.OK() {
		t.Fatal(o, err)
	}
	if p := problem(status(), "webhook_behind"); p != nil {
		t.Errorf("a receiver that is away for a moment: %+v", p)
	}
	n.ledger.Clock().Advance(2 * time.Minute)
	p := problem(status(), "webhook_behind")
	if p == nil || p.Subject != "chat" || !strings.Contains(p.Message, "502") || p.Hint == "" {
		t.Fatalf("problem %+v", p)
	}
}
