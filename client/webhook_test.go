package client

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

func eventClaims() wire.EventClaims {
	return wire.EventClaims{Event: wire.Event{ID: "1-1902", At: wire.AsTime(today.Add(-3 * time.Hour)), Kind: "key.revoked", Key: "ci", Version: 3, Index: 1902},
		Cluster: ourCluster, Webhook: "chat", Number: 977, SentBy: "n1", NodeID: ourNode, SentAt: wire.AsTime(today)}
}

func TestVerifyEvent(t *testing.T) {
	o, stranger := newOffice(t, ourCluster), newOffice(t, ourCluster)
	header := func(o *office, typ string) jwsHeader {
		h := o.header()
		h["typ"] = typ
		return h
	}
	expect := func() Expect { return Expect{Roots: o.pool(), Subject: "chat", Now: today} }
	good := o.jws(header(o, wire.TypEvent), eventClaims())
	e := expect()
	e.Cluster, e.Epoch, e.Index = ourCluster, 1, 1903 // it comes again after a later one was dealt with
	c, err := VerifyEvent(good, e)
	if err != nil || c.Kind != "key.revoked" || c.Key != "ci" || c.Number != 977 || c.At != wire.AsTime(today.Add(-3*time.Hour)) {
		t.Fatalf("%+v, %v", c, err)
	}
	said := func(change func(*wire.EventClaims)) string {
		c := eventClaims()
		change(&c)
		return o.jws(header(o, wire.TypEvent), c)
	}
	for what, row := range map[string]struct {
		jws  string
		edit func(*Expect)
		want error
	}{
		"a status answer":          {o.jws(header(o, wire.TypStatus), eventClaims()), nil, ErrForged},
		"another CA":               {stranger.jws(header(stranger, wire.TypEvent), eventClaims()), nil, ErrForged},
		"changed":                  {strings.Replace(good, ".", ".e", 1), nil, ErrForged},
		"another node's name":      {said(func(c *wire.EventClaims) { c.NodeID = strings.Repeat("cd", 32) }), nil, ErrForged},
		"another cluster":          {said(func(c *wire.EventClaims) { c.Cluster = otherCluster }), nil, ErrForged},
		"no id":                    {said(func(c *wire.EventClaims) { c.ID = "" }), nil, ErrForged},
		"an id of another entry":   {said(func(c *wire.EventClaims) { c.Index = 1903 }), nil, ErrForged},
		"another webhook's":        {said(func(c *wire.EventClaims) { c.Webhook = "pager" }), nil, ErrOtherQuestion},
		"kept for later":           {good, func(e *Expect) { e.Now = today.Add(7 * time.Minute) }, ErrExpired},
		"of tomorrow":              {said(func(c *wire.EventClaims) { c.SentAt = wire.AsTime(today.Add(2 * time.Minute)) }), nil, ErrExpired},
		"of another epoch":         {good, func(e *Expect) { e.Epoch, e.Index = 2, 1 }, ErrEpoch},
		"nobody said which":        {good, func(e *Expect) { e.Subject = "" }, ErrForged},
		"nobody said whose":        {good, func(e *Expect) { e.Roots = nil }, ErrForged},
		"a webhook's name nowhere": {said(func(c *wire.EventClaims) { c.Webhook = "" }), nil, ErrOtherQuestion},
	} {
		e := expect()
		if row.edit != nil {
			row.edit(&e)
		}
		if _, err := VerifyEvent(row.jws, e); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", what, err, row.want)
		}
	}
}

// FuzzVerifyEvent: no panic, and nothing but the one signed event is believed.
func FuzzVerifyEvent(f *testing.F) {
	o := newOffice(f, ourCluster)
	h := o.header()
	h["typ"] = wire.TypEvent
	good := o.jws(h, eventClaims())
	e := Expect{Roots: o.pool(), Subject: "chat", Now: today}
	want, err := VerifyEvent(good, e)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for _, s := range []string{good, "", "..", parts[0] + "." + parts[1] + ".AA", part(jwsHeader{"alg": "none"}) + ".e30.", good + "." + parts[2]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := VerifyEvent(s, e); err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q is believed: %+v", s, got)
		}
	})
}
