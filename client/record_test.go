package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// eventLog serves five events in three entries and breaks off after each two.
func eventLog(t *testing.T) http.HandlerFunc {
	all := []uint64{5, 7, 7, 7, 9}
	return func(w http.ResponseWriter, r *http.Request) {
		_, from, err := wire.ParseEventID(r.URL.Query().Get(wire.QueryFrom))
		if err != nil || r.Header.Get("Accept") != wire.TypeEvents {
			t.Errorf("asked %s with Accept %q", r.URL, r.Header.Get("Accept"))
		}
		sent := 0
		for n, index := range all {
			if index <= from {
				continue
			}
			b, err := json.Marshal(wire.Event{ID: wire.EventID(1, index), Kind: fmt.Sprint("event.", n), Index: index})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, ": alive\nid: 1-%d\nevent: x\ndata: %s\n\n", index, b)
			if sent++; sent%4 == 0 {
				_, _ = io.WriteString(w, "data: {\"id\":\"1-") // and here it breaks off
				return
			}
		}
	}
}

func TestWatchResumes(t *testing.T) {
	node := startNode(t, eventLog(t))
	c := newClient(t, Config{Addrs: []string{node.URL}})
	var got []string
	for e, err := range c.Watch(t.Context(), "1-0") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Kind); len(got) == 5 {
			break
		}
	}
	if want := []string{"event.0", "event.1", "event.2", "event.3", "event.4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if len(node.requests()) < 2 {
		t.Error("the stream never broke: the test tests nothing")
	}
}

func TestWatchEnds(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{startNode(t, refusing(wire.Denied)).URL}})
	n := 0
	for _, err := range c.Watch(t.Context(), "") {
		if n++; wire.CodeOf(err) != wire.Denied {
			t.Errorf("err = %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d pairs", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush() // the client gets its stream
		cancel()
		<-r.Context().Done()
	})
	c = newClient(t, Config{Addrs: []string{node.URL}})
	for _, err := range c.Watch(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	}
}

func TestWaitFor(t *testing.T) {
	var asked atomic.Int64
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		op := wire.Operation{RequestID: "r", Reached: wire.Committed}
		if asked.Add(1) > 2 {
			op.Reached = wire.Fenced
		}
		answer(w, 1, 1, op)
	})
	c := newClient(t, Config{Addrs: []string{node.URL}})
	steps := 0
	op, err := c.WaitFor(t.Context(), "r", wire.Fenced, func(*wire.Operation) { steps++ })
	if err != nil || op.Reached != wire.Fenced || steps != 3 {
		t.Errorf("%+v after %d steps, %v", op, steps, err)
	}
	q := node.requests()[0].URL.Query()
	if q.Get(wire.QueryWait) != wire.Fenced || q.Get(wire.QueryWithin) != "30s" {
		t.Errorf("asked with %v", q)
	}
}

func TestAll(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get(wire.QueryCursor) == "" {
			answer(w, 1, 1, wire.List[wire.KeySummary]{Items: []wire.KeySummary{{Name: "a", State: lifecycle.Active}, {Name: "b", State: lifecycle.Active}}, Next: "b"})
			return
		}
		answer(w, 1, 1, wire.List[wire.KeySummary]{Items: []wire.KeySummary{{Name: "c", State: lifecycle.Active}}})
	})
	c := newClient(t, Config{Addrs: []string{node.URL}})
	var names []string
	err := All(func(o ...Option) (wire.List[wire.KeySummary], error) { return c.Keys(t.Context(), o...) },
		func(k wire.KeySummary) error { names = append(names, k.Name); return nil })
	if err != nil || strings.Join(names, "") != "abc" {
		t.Errorf("%v, %v", names, err)
	}
}

func TestSnapshotStreams(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "the snapshot") }) // seen by the client
	c := newClient(t, Config{Addrs: []string{node.URL}})
	s, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if err != nil || string(b) != "the snapshot" || s.Close() != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestLoginSignsChallengesOnly(t *testing.T) {
	for text, ok := range map[string]bool{wire.LoginPreamble + "nonce: 1\n": true, "chancery/approve/v1\n": false} {
		node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == wire.PathChallenge {
				answer(w, 1, 1, wire.Challenge{Challenge: text, Namespace: wire.LoginNamespace})
				return
			}
			answer(w, 1, 1, wire.Login{Principal: "alice", Token: "chy_x"})
		})
		signed := ""
		c := newClient(t, Config{Addrs: []string{node.URL}})
		l, err := c.Login(t.Context(), wire.ChallengeRequest{Principal: "alice"}, func(ns string, b []byte) (string, error) {
			signed = ns + " " + string(b)
			return "armoured", nil
		})
		if ok && (err != nil || l.Token != "chy_x" || signed != "chancery-login "+text) {
			t.Errorf("login: %+v, %v, signed %q", l, err, signed)
		}
		if !ok && (err == nil || signed != "") {
			t.Errorf("an approval in the guise of a login was signed: %q, %v", signed, err)
		}
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1-2\ndata: {\"id\":\"1-2\"}\n\n")
	f.Add(": comment\n\ndata:{\ndata:}\n\n")
	f.Add("data: {")
	f.Fuzz(func(t *testing.T, s string) {
		n := 0
		if err := readEvents(strings.NewReader(s), func(wire.Event) bool { n++; return true }); errors.Is(err, errStop) {
			t.Fatal("stopped though nobody asked for it")
		}
		if n > strings.Count(s, "data:") {
			t.Fatalf("%d events out of %q", n, s)
		}
	})
}
