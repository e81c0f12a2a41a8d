package consumer_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkConfirm is 5,000 callers at once, each with instances of its own, so that
// every confirmation is news. Wanted: 10,000 confirmations a second and at most 10
// entries a second.
func BenchmarkConfirm(b *testing.B) {
	w := build(b, lifecycle.ES256)
	w.l.Must(b, &command.UpdateConsumer{Consumer: command.ConsumerRecord{Name: eu, Owner: "deploy", Class: lifecycle.Required, Expect: lifecycle.MaxExpect, Keys: []lifecycle.KeyID{ci}, Lifetime: lifecycle.Day}})
	w.desks[0].Gather = consumer.DefaultGather
	whole, kids := w.statement(eu, "", nil), w.kidsOf(1)[:1]
	part := whole
	part.KIDs, part.Digest = kids, w.digestOf(kids)
	var n atomic.Uint64
	w.entries = nil
	began := time.Now()
	b.SetParallelism(2500)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		instance := fmt.Sprintf("pod-%d", n.Add(1))
		for turn := 0; pb.Next(); turn++ {
			s := whole
			if turn%2 == 1 {
				s = part // another set: it is news each time
			}
			s.Instance = instance
			if _, err := w.desks[0].Confirm(ctx, s); err != nil {
				b.Error(err)
				return
			}
		}
	})
	took := time.Since(began).Seconds()
	b.ReportMetric(float64(b.N)/took, "confirmations/s")
	b.ReportMetric(float64(len(w.entries))/took, "entries/s")
}
