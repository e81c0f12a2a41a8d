package signing_test

import (
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkGate is what the gate adds to one signature: alone and on all processors,
// on the state it was admitted with, on a newer one, and on one in which the key was
// written to and everything is looked for again. The lease here is one atomic load;
// integration/bench measures the gate with the real lease, against 2 us together.
func BenchmarkGate(b *testing.B) {
	w := build(b)
	start := time.Now()
	w.signer.Elapsed = func() time.Duration { return time.Since(start) }
	w.signer.MaxAge = time.Hour
	admit := func(b *testing.B) func() {
		pass, err := w.signer.Rehearse(w.request("ci"))
		if err != nil {
			b.Fatal(err)
		}
		return func() {
			if err := pass(); err != nil {
				b.Fatal(err)
			}
		}
	}
	run := func(name string, gate func()) {
		b.Run(name+"/alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				gate()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					gate()
				}
			})
		})
	}
	run("same state", admit(b))
	older := admit(b)
	w.ledger.Must(b, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "other", Kind: lifecycle.Service}})
	run("newer state", older)
	older = admit(b)
	w.ledger.Must(b, &command.SetPolicy{Key: "ci", Policy: w.ledger.View().Key("ci").Policy, Owner: "somebody else"})
	run("key written", older)
}
