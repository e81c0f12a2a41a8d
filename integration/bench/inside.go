//go:build linux && cgo

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// insideFile holds where a node of the benchmark takes orders for callers of its own.
const insideFile = "inside"

// benchCaller is the principal that may do everything measured here.
const benchCaller = "bench"

// serveInside lets a node's process be told to work by itself: callers that are
// goroutines beside the signer cost no TLS, HTTP or JSON. It answers "how many a second".
func serveInside(s *signing.Signer, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("take orders inside a node: %w", err)
	}
	orders := http.NewServeMux()
	orders.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		rate, err := workInside(r, s)
		answer(w, rate, err)
	})
	orders.HandleFunc("/certify", func(w http.ResponseWriter, r *http.Request) {
		serials, err := certifyInside(r, s)
		answer(w, serials, err)
	})
	go func() { _ = http.Serve(l, orders) }() // ends with the process, and so does its error
	return os.WriteFile(filepath.Join(dir, insideFile), []byte(l.Addr().String()), 0o600)
}

func answer(w http.ResponseWriter, what any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, what)
}

// workInside does what one order says: "sign" with a key, or only "record" signatures of
// it that nobody makes.
func workInside(r *http.Request, s *signing.Signer) (float64, error) {
	callers, err := strconv.Atoi(r.FormValue("callers"))
	if err != nil {
		return 0, err
	}
	each, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		return 0, err
	}
	once, err := signInside(s, r.FormValue("key")), error(nil)
	if r.FormValue("work") == "record" {
		once, err = recordInside(s, r.FormValue("key"))
	}
	if err != nil {
		return 0, err
	}
	return insideRate(r.Context(), callers, each, once)
}

// signInside makes one signature.
func signInside(s *signing.Signer, key string) func(context.Context) error {
	digest := sha256.Sum256([]byte("bench"))
	input := []signing.Input{{Digest: digest[:], Hash: lifecycle.SHA256}}
	return func(ctx context.Context) error {
		items, err := s.Sign(ctx, signing.Request{Caller: authority.Caller{Principal: benchCaller}, ID: client.NewRequestID(), Key: key, ReceivedAt: elapsed()}, input)
		if err == nil {
			err = items[0].Err
		}
		return err
	}
}

// recordInside writes one signature into the log, as signing does for a strict key.
func recordInside(s *signing.Signer, key string) (func(context.Context) error, error) {
	v := s.Ledger.View()
	k := v.Key(lifecycle.KeyID(key))
	if k == nil {
		return nil, fmt.Errorf("there is no key %s", key)
	}
	i := v.Instance(k.ID, k.Active, s.Ledger.NodeID())
	if i == nil {
		return nil, fmt.Errorf("%s has no instance here", key)
	}
	hash := sha256.Sum256([]byte("bench"))
	notary := signing.NewNotary(s.Record)
	return func(ctx context.Context) error {
		_, err := notary.Put(ctx, command.SignatureGroup{Key: k.ID, Version: k.Active, KID: i.KID, Principal: benchCaller, RequestID: client.NewRequestID(),
			Items: []command.SignatureItem{{TBS: hash[:], Sig: hash[:]}}})
		return err
	}, nil
}

// insideRate is how often a second so many callers do something.
func insideRate(ctx context.Context, callers int, d time.Duration, once func(context.Context) error) (float64, error) {
	var wg sync.WaitGroup
	var count atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(start) < d && failed.Load() == nil {
				if err := once(ctx); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(start).Seconds(), nil
}

// inside has a node work by itself.
func (c *cluster) inside(node int, work, key string, callers int, d time.Duration) (float64, error) {
	text, err := c.order(node, "/", url.Values{"work": {work}, "key": {key}, "callers": {strconv.Itoa(callers)}, "for": {d.String()}})
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// order gives a node's process an order and returns its answer.
func (c *cluster) order(node int, path string, q url.Values) (string, error) {
	addr, err := os.ReadFile(filepath.Join(c.dir, "n"+strconv.Itoa(node), insideFile))
	if err != nil {
		return "", fmt.Errorf("ask node %d to work: %w", node, err)
	}
	resp, err := http.Get("http://" + string(addr) + path + "?" + q.Encode())
	if err != nil {
		return "", fmt.Errorf("ask node %d to work: %w", node, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask node %d to work: %w", node, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask node %d to work: %s", node, text)
	}
	return string(text), nil
}
