package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// startReceiver is "receiver NAME kind...": a server for a webhook of that name runs
// until the story ends. NAME.json are the settings that make it one, and NAME.events
// has a line for each event whose signature is the cluster's and that did not come
// before.
func startReceiver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: receiver NAME kind...")
	}
	bundle, err := os.ReadFile(ts.Getenv("CHANCERY_CA"))
	ts.Check(err)
	expect := client.Expect{Roots: x509.NewCertPool(), Subject: args[0]}
	expect.Roots.AppendCertsFromPEM(bundle)
	f, err := os.OpenFile(ts.MkAbs(args[0]+".events"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	var mu sync.Mutex
	var last uint64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		e, err := client.VerifyEvent(string(body), expect)
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			ts.Logf("an event that does not verify: %v", err)
			return
		}
		if e.Number <= last {
			return // the leader changed, and the new one does not know that it came
		}
		expect.Epoch, last = 1, e.Number
		if _, err := fmt.Fprintf(f, "%d %s %s %s\n", e.Number, e.Kind, e.Key, e.SentBy); err != nil {
			w.WriteHeader(http.StatusInsufficientStorage)
		}
	}))
	ts.Defer(func() {
		s.Close()
		_ = f.Close() // the story has read it
	})
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	settings, err := json.Marshal(lifecycle.Settings{Webhooks: []lifecycle.Webhook{{Name: args[0], URL: s.URL + "/hook", Kinds: args[1:], CA: ca}}})
	ts.Check(err)
	var all map[string]json.RawMessage
	ts.Check(json.Unmarshal(settings, &all))
	only, err := json.Marshal(map[string]json.RawMessage{"webhooks": all["webhooks"]})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".json"), only, 0o600))
}
