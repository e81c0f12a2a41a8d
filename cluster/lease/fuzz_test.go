package lease

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// decode is how the transport reads a message: no unknown field.
func decode(b []byte, into any) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil
}

func encode(f *testing.F, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzAccept: no bytes give a lease, but the grant that was made for the question.
func FuzzAccept(f *testing.F) {
	p := newPair()
	r := p.ask()
	rec, err := p.Record(alpha, r, func() (uint64, Terms) { return 10, p.terms })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encode(f, rec.grant))
	f.Add([]byte(`{"duration_ns":9223372036854775807,"clock":{"raw_ns":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Grant
		if !decode(b, &g) {
			return
		}
		p := newPair()
		p.ask()
		p.pass(time.Second)
		if err := p.Accept(g.Leader, g, 10); err == nil || p.Usable(1<<63) == nil {
			t.Fatalf("a lease by a guess: %+v", g)
		}
		if len(p.Holder.Rejected()) != 1 {
			t.Errorf("counted %v", p.Holder.Rejected())
		}
		// With the nonce known only what the grant says may matter.
		r := p.ask()
		g.Cluster, g.Epoch, g.Node, g.Boot, g.Seq, g.Nonce = r.Cluster, r.Epoch, r.Node, r.Boot, r.Seq, r.Nonce
		if p.Accept(g.Leader, g, 10) == nil {
			if left := p.Status(1 << 63).ExpiresIn; left <= 0 || left > p.terms.Duration {
				t.Errorf("a lease of %v", left)
			}
		}
	})
}

// FuzzRecord: no bytes put another node than the sender into the table of bounds.
func FuzzRecord(f *testing.F) {
	p := newPair()
	f.Add(encode(f, p.ask()))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if !decode(b, &r) {
			return
		}
		p := newPair()
		p.pass(time.Hour)
		_, err := p.Record(alpha, r, func() (uint64, Terms) { return 10, p.terms })
		out := p.Open(11, []lifecycle.NodeID{beta}, p.terms).Outcomes()
		if err != nil && len(out) != 1 || err == nil && (len(out) != 2 || out[0].Node != alpha) {
			t.Errorf("%v, and then %+v", err, out)
		}
	})
}

// FuzzHeed: what is heeded is in the right name, place and term.
func FuzzHeed(f *testing.F) {
	p := newPair()
	p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
	r, _ := p.Grantor.Ask(alpha)
	f.Add(encode(f, r))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r FenceRequest
		if !decode(b, &r) {
			return
		}
		if err := newPair().Heed(beta, cluster, 1, r); err == nil && (r.Leader != beta || r.Cluster != cluster || r.Epoch != 1 || r.Index == 0) {
			t.Errorf("heeded: %+v", r)
		}
	})
}

// FuzzAck: no bytes end a fence, but the answer to its question.
func FuzzAck(f *testing.F) {
	p := newPair()
	p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
	r, _ := p.Grantor.Ask(alpha)
	p.Advance(11)
	f.Add(encode(f, p.Answer(r)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a FenceAck
		if !decode(b, &a) {
			return
		}
		p := newPair()
		fence := p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
		r, _ := p.Grantor.Ask(alpha)
		if p.Ack(a.Node, a) == nil || fence.Done() {
			t.Fatalf("the end of a fence by a guess: %+v", a)
		}
		a.Nonce = r.Nonce
		if err := p.Ack(a.Node, a); fence.Done() != (err == nil && a.Node == alpha && a.Fenced >= 11) {
			t.Errorf("%v, done %v: %+v", err, fence.Done(), a)
		}
	})
}
