package client

import (
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

func TestAnchorIsMonotone(t *testing.T) {
	var index atomic.Uint64
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 1, index.Load(), wire.Key{Name: "ci"}) })
	c := newClient(t, Config{Addrs: []string{node.URL}, Timeout: 200 * time.Millisecond})
	for _, step := range []struct{ serves, asks uint64 }{{5, 0}, {9, 5}, {9, 9}, {12, 9}} {
		index.Store(step.serves)
		if _, err := c.Key(t.Context(), "ci"); err != nil {
			t.Fatal(err)
		}
		all := node.requests()
		got := all[len(all)-1].Header.Get(wire.HeaderMinIndex)
		if want := strconv.FormatUint(step.asks, 10); got != want && !(step.asks == 0 && got == "") {
			t.Errorf("asked for %q, want %s", got, want)
		}
	}
	index.Store(11)
	if _, err := c.Key(t.Context(), "ci"); !errors.Is(err, ErrWentBack) {
		t.Errorf("an older answer: %v", err)
	}
	if epoch, seen := c.Seen(); epoch != 1 || seen != 12 {
		t.Errorf("seen %d-%d", epoch, seen)
	}
	if _, err := c.Key(t.Context(), "ci", Consistency(wire.Stale)); err != nil {
		t.Errorf("an older answer when stale will do: %v", err)
	}
}

func TestWentBackTriesAnotherNode(t *testing.T) {
	old := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 1, 3, wire.Key{Name: "old"}) })
	fresh := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 1, 8, wire.Key{Name: "fresh"}) })
	c := newClient(t, Config{Addrs: []string{old.URL, fresh.URL}})
	c.Anchor(1, 8)
	k, err := c.Key(t.Context(), "ci")
	if err != nil || k.Name != "fresh" {
		t.Errorf("got %+v, %v", k, err)
	}
}

func TestEpochChange(t *testing.T) {
	var epoch atomic.Uint64
	epoch.Store(1)
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, epoch.Load(), 50, wire.Key{}) })
	c := newClient(t, Config{Addrs: []string{node.URL}})
	if _, err := c.Key(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	epoch.Store(2)
	for range 2 { // it stays an error until somebody has looked
		var changed *EpochChanged
		if _, err := c.Key(t.Context(), "ci"); !errors.As(err, &changed) || changed.Was != 1 || changed.Now != 2 {
			t.Fatalf("err = %v", err)
		}
	}
	c.ReAnchor()
	if _, err := c.Key(t.Context(), "ci"); err != nil {
		t.Errorf("after ReAnchor: %v", err)
	}
	if e, _ := c.Seen(); e != 2 {
		t.Errorf("anchored in epoch %d", e)
	}
}

func TestServerSaysEpochChanged(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = w.Write([]byte(`{"code":"epoch_changed","message":"x","position":{"epoch":4,"index":1,"log_size":0,"log_root":""}}`)) // seen by the client
	})
	c := newClient(t, Config{Addrs: []string{node.URL}})
	c.Anchor(3, 7)
	var changed *EpochChanged
	if _, err := c.Key(t.Context(), "ci"); !errors.As(err, &changed) || changed.Was != 3 || changed.Now != 4 {
		t.Errorf("err = %v", err)
	}
	// The epoch is as it was: the position that the caller typed is of another one.
	c = newClient(t, Config{Addrs: []string{node.URL}})
	c.Anchor(4, 7)
	if _, err := c.Log(t.Context(), Query(wire.QueryFrom, "9-1")); errors.As(err, &changed) || wire.CodeOf(err) != wire.EpochChanged {
		t.Errorf("a position of another epoch: %v", err)
	}
}
