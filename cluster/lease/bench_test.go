package lease

import "testing"

// BenchmarkUsable is what each signature pays for its lease, with this machine's
// clocks: well below 1 us, for integration/bench allows 2 us with the gate.
func BenchmarkUsable(b *testing.B) {
	p := newPair()
	p.Holder = NewHolder(alpha, System, p.terms)
	r := p.ask()
	p.index = 1
	rec, err := p.Record(alpha, r, func() (uint64, Terms) { return p.index, TermsOf(MaxDuration, MinAge) })
	if err != nil {
		b.Fatal(err)
	}
	p.Use(TermsOf(MaxDuration, MinAge))
	if err := p.Accept(beta, rec.grant, 10); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Usable(10); err != nil {
			b.Fatal(err)
		}
	}
}
