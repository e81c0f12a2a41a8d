package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/webhook"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// told is what a receiver is sent here: signatures are the business of others.
type told struct {
	Number uint64
	Kind   string
	Index  uint64
}

// receiver is a server with a certificate of its own that remembers what it took.
type receiver struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	answer func(n int) int // status of the nth request
	asked  int
	got    []told
}

func receive(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail on purpose
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/jose" || !bytes.HasPrefix(body, []byte("signed ")) {
		r.t.Errorf("%s %q: %q, %v", req.Method, req.Header, body, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := http.StatusOK
	if r.answer != nil {
		status = r.answer(r.asked)
	}
	r.asked++
	if status == http.StatusOK {
		var e told
		if err := json.Unmarshal(body[len("signed "):], &e); err != nil {
			r.t.Error(err)
		}
		r.got = append(r.got, e)
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
}

func (r *receiver) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

func (r *receiver) taken() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

type world struct {
	*testing.T
	l      *ledgertest.Ledger
	timing webhook.Timing
}

func build(t *testing.T) *world {
	w := &world{t, ledgertest.New(t), webhook.Timing{Commit: 2 * time.Millisecond, First: time.Millisecond, Longest: 4 * time.Millisecond}}
	ledgertest.Genesis(t, w.l)
	return w
}

func (w *world) hooks(hooks ...lifecycle.Webhook) {
	w.Helper()
	s := w.l.View().Cluster().Settings
	s.Webhooks = hooks
	for _, h := range hooks {
		if err := webhook.Check(h); err != nil {
			w.Fatal(err)
		}
	}
	w.l.Must(w.T, &command.SetSettings{Settings: s})
}

// start runs a sender until the function it returns is called.
func (w *world) start() (s *webhook.Sender, stop func()) {
	s = webhook.New(webhook.Config{Ledger: w.l, Clock: w.l.Clock().Now, Timing: w.timing,
		Body: func(_ *state.View, _ string, n uint64, l *state.Leaf) ([]byte, error) {
			return json.Marshal(told{n, l.Kind, l.Index})
		},
		Sign: func(_ context.Context, b []byte) (string, error) { return "signed " + string(b), nil }, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.Cleanup(stop)
	return s, stop
}

// events makes n events of each of two kinds: token.created, cluster.settings_changed.
func (w *world) events(from, n int) {
	w.Helper()
	for i := from; i < from+n; i++ {
		id := fmt.Sprintf("token-%04d", i)
		w.l.Must(w.T, &command.AddToken{ID: id, Principal: ledgertest.Admin, Hash: bytes.Repeat([]byte{byte(i + 1)}, 32), ExpiresAt: w.l.Clock().At().Add(lifecycle.Day)})
		same := w.l.View().Cluster().Settings
		w.l.Must(w.T, &command.SetSettings{Settings: same})
	}
}

func (w *world) until(what string, is func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never: %s", what)
		}
	}
}

func (w *world) inOrder(got []told, n int, kind string) {
	w.Helper()
	if len(got) != n {
		w.Fatalf("%d events, want %d: %+v", len(got), n, got)
	}
	for i, e := range got {
		if !strings.HasPrefix(e.Kind, kind) || i > 0 && e.Number <= got[i-1].Number {
			w.Errorf("event %d is %+v after %+v", i, e, got[max(0, i-1)])
		}
	}
}

func (w *world) noted(name string) lifecycle.Delivery {
	w.Helper()
	d := w.l.View().Delivery(name)
	if d == nil {
		w.Fatalf("nothing is known of %s", name)
	}
	return *d
}

func TestEventsArriveInOrder(t *testing.T) {
	w := build(t)
	w.events(100, 1) // before there was a webhook: nobody asked
	some, all := receive(t, nil), receive(t, nil)
	w.hooks(lifecycle.Webhook{Name: "some", URL: some.URL + "/hook?secret=1", Kinds: []string{"token.created"}, CA: some.ca()},
		lifecycle.Webhook{Name: "all", URL: all.URL, Kinds: []string{"*"}, CA: all.ca()})
	s, _ := w.start()
	w.events(0, 40)
	w.until("everything arrives", func() bool { return len(some.taken()) == 40 && len(all.taken()) == 80 })
	w.inOrder(some.taken(), 40, "token.created")
	w.inOrder(all.taken(), 80, "")
	last := all.taken()[79].Index
	w.until("the place is written down", func() bool { return w.noted("all").After >= last && w.noted("some").After >= last-1 })
	if s.Sent.Load() != 120 || s.Failed.Load() != 0 {
		t.Errorf("%d sent, %d failed", s.Sent.Load(), s.Failed.Load())
	}
}

func TestFailuresKeepTheOrder(t *testing.T) {
	w := build(t)
	status := []int{500, 503, 302, 200, 404, 200}
	r := receive(t, func(n int) int {
		if n < len(status) {
			return status[n]
		}
		return 200
	})
	w.hooks(lifecycle.Webhook{Name: "chat", URL: r.URL, Kinds: []string{"token", "cluster.settings_changed"}, CA: r.ca()})
	s, _ := w.start()
	w.events(0, 5)
	w.until("everything arrives", func() bool { return len(r.taken()) == 10 })
	w.inOrder(r.taken(), 10, "")
	if s.Failed.Load() != 4 {
		t.Errorf("%d attempts failed, want 4", s.Failed.Load())
	}
	w.until("it works again", func() bool {
		d := w.noted("chat")
		return d.FailingSince == 0 && d.Why == "" && d.After >= r.taken()[9].Index
	})
}

// TestOneFailsForItself: a receiver that is away, hangs or is somebody else holds
// nobody up, and the log says why.
func TestOneFailsForItself(t *testing.T) {
	w := build(t)
	good, sends := receive(t, nil), receive(t, func(int) int { return 307 })
	release := make(chan struct{})
	hangs := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(release) })
	gone := receive(t, nil)
	gone.Close()
	kinds := []string{"cluster"}
	w.hooks(lifecycle.Webhook{Name: "gone", URL: gone.URL, Kinds: kinds, CA: gone.ca()}, lifecycle.Webhook{Name: "good", URL: good.URL, Kinds: kinds, CA: good.ca()},
		lifecycle.Webhook{Name: "hangs", URL: hangs.URL, Kinds: kinds, CA: good.ca()}, lifecycle.Webhook{Name: "sends", URL: sends.URL, Kinds: kinds, CA: sends.ca()},
		lifecycle.Webhook{Name: "unknown", URL: good.URL + "/forged", Kinds: kinds})
	_, stop := w.start()
	w.events(0, 10)
	w.until("the good one has everything", func() bool { return len(good.taken()) == 10 })
	for name, why := range map[string]string{"gone": "refused", "sends": "redirects are not followed", "unknown": "certificate"} {
		w.until(name+" is known to fail", func() bool { d := w.noted(name); return d.FailingSince != 0 && strings.Contains(d.Why, why) })
	}
	stop() // with a request under way
	w.inOrder(good.taken(), 10, "cluster.settings_changed")
}

// TestAnotherLeaderGoesOn: nothing is lost with the leader, and only what was not noted
// comes again.
func TestAnotherLeaderGoesOn(t *testing.T) {
	w := build(t)
	r := receive(t, nil)
	w.hooks(lifecycle.Webhook{Name: "chat", URL: r.URL, Kinds: []string{"token.created"}, CA: r.ca()})
	_, stop := w.start()
	w.events(0, 10)
	w.until("ten arrive", func() bool { return len(r.taken()) == 10 && w.noted("chat").After >= r.taken()[9].Index })
	stop()
	w.events(10, 10)
	_, stop = w.start()
	w.until("ten more arrive", func() bool { return len(r.taken()) == 20 && w.noted("chat").After >= r.taken()[19].Index })
	w.inOrder(r.taken(), 20, "token.created")
	stop()

	w.l.SetLeader(false)
	s, _ := w.start()
	w.l.SetLeader(true)
	w.events(20, 5)
	w.until("what came meanwhile arrives", func() bool { return len(r.taken()) >= 25 && s.Sent.Load() >= 5 }) // it counts when it has the answer
	w.inOrder(r.taken(), 25, "token.created")
	if got := s.Sent.Load(); got != 5 {
		t.Errorf("%d were sent, want the 5 that nobody had", got)
	}
}

// TestWhatWasNotNotedComesAgain, in the same order and with what came meanwhile behind
// it: a leader that dies has told nobody how far it had come.
func TestWhatWasNotNotedComesAgain(t *testing.T) {
	w := build(t)
	r := receive(t, nil)
	w.hooks(lifecycle.Webhook{Name: "chat", URL: r.URL, Kinds: []string{"token.created"}, CA: r.ca()})
	w.timing.Commit = time.Hour
	_, stop := w.start()
	w.events(0, 1)
	w.until("the first arrives", func() bool { return len(r.taken()) == 1 })
	w.events(1, 9)
	w.until("ten arrive", func() bool { return len(r.taken()) == 10 })
	stop()
	w.events(10, 5)
	known := 0 // the first may have been there when the leader wrote down where it was
	if first := r.taken()[0]; w.noted("chat").After >= first.Index {
		known = 1
	}
	_, stop = w.start()
	w.until("all come", func() bool { return len(r.taken()) == 25-known })
	stop()
	again := r.taken()[10:]
	w.inOrder(again, 15-known, "token.created")
	if again[0] != r.taken()[known] {
		t.Errorf("it goes on at %+v", again[0])
	}
}

func TestSettingsChange(t *testing.T) {
	w := build(t)
	old, moved := receive(t, func(int) int { return 410 }), receive(t, nil)
	hook := lifecycle.Webhook{Name: "chat", URL: old.URL, Kinds: []string{"token.created"}, CA: old.ca()}
	w.hooks(hook)
	w.start()
	w.events(0, 3)
	w.until("the old one refuses", func() bool { return strings.Contains(w.noted("chat").Why, "410") })
	hook.URL, hook.CA = moved.URL, moved.ca()
	w.hooks(hook)
	w.until("the new one has what the old one missed", func() bool { return len(moved.taken()) == 3 })
	w.hooks()
	w.until("it is forgotten", func() bool { return w.l.View().Delivery("chat") == nil })
	asked := func() int { old.mu.Lock(); defer old.mu.Unlock(); return old.asked }
	before := asked()
	w.events(3, 3)
	if len(moved.taken()) > 6 || asked() != before {
		t.Error("a webhook that is gone is told of events")
	}
}

func TestCheck(t *testing.T) {
	r := receive(t, nil)
	for what, c := range map[string]struct {
		edit func(*lifecycle.Webhook)
		ok   bool
	}{
		"https": {func(*lifecycle.Webhook) {}, true}, "a CA": {func(w *lifecycle.Webhook) { w.CA = r.ca() + "\n" + r.ca() }, true},
		"http here": {func(w *lifecycle.Webhook) { w.URL = "http://127.0.0.1:8080/x" }, true}, "http by name": {func(w *lifecycle.Webhook) { w.URL = "http://localhost/x" }, true},
		"http here, version 6": {func(w *lifecycle.Webhook) { w.URL = "http://[::1]:80" }, true}, "everything": {func(w *lifecycle.Webhook) { w.Kinds = []string{"*"} }, true},
		"http elsewhere": {func(w *lifecycle.Webhook) { w.URL = "http://x.test" }, false}, "http to what looks like here": {func(w *lifecycle.Webhook) { w.URL = "http://127.0.0.1.x.test" }, false},
		"no host": {func(w *lifecycle.Webhook) { w.URL = "https:///x" }, false}, "a password": {func(w *lifecycle.Webhook) { w.URL = "https://u:p@x.test" }, false},
		"a fragment": {func(w *lifecycle.Webhook) { w.URL = "https://x.test/#a" }, false}, "no url": {func(w *lifecycle.Webhook) { w.URL = "https://%zz" }, false},
		"a CA that is none": {func(w *lifecycle.Webhook) { w.CA = "pem" }, false}, "something after the CA": {func(w *lifecycle.Webhook) { w.CA = r.ca() + "x" }, false},
		"a key for a CA":      {func(w *lifecycle.Webhook) { w.CA = strings.ReplaceAll(r.ca(), "CERTIFICATE", "PRIVATE KEY") }, false},
		"a kind nobody makes": {func(w *lifecycle.Webhook) { w.Kinds = []string{"keys.revoked"} }, false},
	} {
		h := lifecycle.Webhook{Name: "chat", URL: "https://x.test/hook", Kinds: []string{"key", "proposal.opened"}}
		c.edit(&h)
		if err := webhook.Check(h); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
