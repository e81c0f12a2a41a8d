package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// follow opens an event stream; the channel ends with it.
func (n *node) follow(as, query string, headers ...string) (<-chan sent, context.CancelFunc) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", n.server.URL+wire.PathEvents+query, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Accept", wire.TypeEvents)
	req.Header.Set("Authorization", "Bearer "+secrets[as])
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.client().Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != wire.TypeEvents {
		n.t.Fatalf("stream: %d %v", resp.StatusCode, resp.Header)
	}
	out := make(chan sent)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		var now sent
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			switch name, value, _ := strings.Cut(s.Text(), ": "); name {
			case "id":
				now.id = value
			case "event":
				now.kind = value
			case "data":
				if json.Unmarshal([]byte(value), &now.event) != nil {
					return
				}
			case "":
				if now.kind == "" {
					continue // the end of a comment
				}
				select {
				case out <- now:
				case <-ctx.Done():
					return
				}
				now = sent{}
			}
		}
	}()
	return out, cancel
}

type sent struct {
	id, kind string
	event    wire.Event
}

func next(t *testing.T, from <-chan sent) sent {
	t.Helper()
	select {
	case s, ok := <-from:
		if !ok {
			t.Fatal("the stream ended")
		}
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	return sent{}
}

func TestEventStream(t *testing.T) {
	n := start(t)
	stream, stop := n.follow("admin", "")
	n.create(createCI) // a stream begins now: nothing of the genesis is on it
	if first := next(t, stream); first.kind != "key.created" || first.event.Key != "ci" || first.event.Actor != "admin" {
		t.Fatalf("first = %+v", first)
	}
	var last string
	for {
		s := next(t, stream)
		if s.id != "" {
			last = s.id
		}
		if s.kind == "key.activated" {
			break
		}
	}
	stop()
	// An id stands on the last event of an entry only, so going on from one never
	// leaves the rest of an entry out.
	n.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	stream, _ = n.follow("admin", "?from=1-1", "Last-Event-ID", last)
	for s := next(t, stream); s.kind != "key.suspended"; s = next(t, stream) {
		if s.kind == "key.created" {
			t.Fatal("an event came twice")
		}
	}
	// Only what the caller may read.
	other := createCI
	other.Name = "private"
	mine, _ := n.follow("signer", "?from=1-0")
	n.create(other)
	n.ledger.Must(t, &command.ResumeVersion{Key: "ci", Version: 1})
	for s := next(t, mine); s.kind != "key.resumed"; s = next(t, mine) {
		if s.event.Key != "ci" {
			t.Fatalf("signer sees %+v", s.event)
		}
	}
	// A revoked principal's stream ends.
	n.ledger.Must(t, &command.RevokePrincipal{Name: "signer"})
	select {
	case _, open := <-mine:
		if open {
			t.Error("events after the principal was revoked")
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream of a revoked principal goes on")
	}
	refused(t, n.ask("admin", "GET", wire.PathEvents+"?from=7-1", nil), wire.EpochChanged)
	refused(t, n.ask("admin", "GET", wire.PathEvents+"?from=x", nil), wire.Invalid)
	refused(t, n.ask("nobody", "GET", wire.PathEvents, nil), wire.Denied)
}

// TestEventStreamOfLongEntries: a reader that comes back gets the rest of an entry, also of
// one that did not fit what is read of the log at a time.
func TestEventStreamOfLongEntries(t *testing.T) {
	n := start(t)
	n.create(createCI)
	hash := sha256.Sum256(nil)
	c := &command.RecordSignatures{Node: n.ledger.NodeID()}
	for range eventBatch {
		c.Groups = append(c.Groups, command.SignatureGroup{Key: "ci", Version: 1, KID: n.ledger.View().Instance("ci", 1, n.ledger.NodeID()).KID, Principal: "signer",
			Items: []command.SignatureItem{{TBS: hash[:], Sig: hash[:]}}})
	}
	o := n.ledger.Must(t, c)
	n.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	stream, _ := n.follow("admin", "?from=1-0")
	seen := 0
	for s := next(t, stream); s.kind != "key.suspended"; s = next(t, stream) {
		if s.event.Index != o.Index {
			continue
		}
		if seen++; (s.id != "") != (seen == eventBatch) {
			t.Fatalf("event %d of %d of its entry has the id %q", seen, eventBatch, s.id)
		}
	}
	if seen != eventBatch {
		t.Errorf("%d of %d events", seen, eventBatch)
	}
}

func TestEventPages(t *testing.T) {
	n := start(t)
	n.create(createCI)
	all := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents, nil))
	if all.Items[0].Kind != "cluster.created" || all.Next != "" {
		t.Errorf("events = %+v", all)
	}
	page := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?limit=2", nil))
	rest := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?cursor="+string(page.Next), nil))
	if len(page.Items)+len(rest.Items) != len(all.Items) || page.Next == "" {
		t.Errorf("%d and %d of %d", len(page.Items), len(rest.Items), len(all.Items))
	}
	kinds := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?kind=instance&key=ci", nil))
	if len(kinds.Items) != 1 || kinds.Items[0].Kind != "instance.ready" {
		t.Errorf("filtered = %+v", kinds.Items)
	}
	n.ledger.HoldFences(true)
	// A long poll answers when something comes, or empty when its time is up.
	from := all.Items[len(all.Items)-1].ID
	if none := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?wait=10ms&from="+from, nil)); len(none.Items) != 0 {
		t.Errorf("poll = %+v", none)
	}
	done := make(chan reply, 1)
	go func() { done <- n.ask("admin", "GET", wire.PathEvents+"?wait=30s&from="+from, nil) }()
	n.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	if got := get[wire.List[wire.Event]](t, <-done); len(got.Items) == 0 || got.Items[0].After != wire.Text(lifecycle.Suspended.String()) {
		t.Errorf("poll = %+v", got)
	}
	refused(t, n.ask("admin", "GET", wire.PathEvents+"?wait=long", nil), wire.Invalid)
}

func TestStopEndsHeldRequests(t *testing.T) {
	n := start(t)
	stream, _ := n.follow("admin", "")
	from := wire.EventID(1, n.ledger.View().Position().Index)
	done := make(chan reply, 1)
	go func() { done <- n.ask("admin", "GET", wire.PathEvents+"?wait=60s&from="+from, nil) }()
	n.api.Stop()
	if r := <-done; r.status != 200 {
		t.Errorf("held poll: %d", r.status)
	}
	if _, open := <-stream; open {
		t.Error("the stream goes on after Stop")
	}
}

// TestEventsOfNoKind: who asks for what never comes is told so, and does not wait.
func TestEventsOfNoKind(t *testing.T) {
	n := start(t)
	for kind, why := range map[string]string{"hsm.missing": "chancery status", "epoch.changed": "restore", "key.revokd": "key.revoked", "nonsense": "begin with"} {
		if r := n.ask("admin", "GET", wire.PathEvents+"?wait=1h&kind="+kind, nil); r.status != http.StatusUnprocessableEntity && r.status != http.StatusBadRequest || !strings.Contains(string(r.body), why) {
			t.Errorf("%s: %d %s", kind, r.status, r.body)
		}
	}
	for _, kind := range []string{"key", "node.joined"} {
		get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.PathEvents+"?kind="+kind, nil))
	}
}
