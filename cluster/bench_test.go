package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Three nodes in this process on one disk, so these say what the layers cost and
// not what a cluster gives.

func benchmarkLab(b *testing.B) *lab {
	l := newLabFor(b)
	l.grow(3)
	l.awaitFresh(l.all()...)
	return l
}

func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l := benchmarkLab(b)
			leader := l.leader()
			b.SetParallelism((callers + 1) / 2) // times GOMAXPROCS
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := leader.propose(b.Context(), l.joinToken()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkLinearizableRead(b *testing.B) {
	for _, callers := range []int{1, 128} {
		for _, where := range []string{"leader", "follower"} {
			b.Run(fmt.Sprint(where, "/", callers), func(b *testing.B) {
				l := benchmarkLab(b)
				m := l.leader()
				if where == "follower" {
					m = l.others(m)[0]
				}
				b.SetParallelism((callers + 1) / 2)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := m.read(linearizable); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkFailover is from the leader's end to the first write acknowledged by
// the next one.
func BenchmarkFailover(b *testing.B) {
	l := benchmarkLab(b)
	var slowest time.Duration
	for b.Loop() {
		b.StopTimer()
		leader := l.leader()
		l.network.isolate(leader, true)
		began := time.Now()
		b.StartTimer()
		l.writeAmong(l.others(leader)...)
		b.StopTimer()
		slowest = max(slowest, time.Since(began))
		leader.stop()
		l.network.isolate(leader, false)
		leader.start()
		l.awaitFresh(l.all()...)
		b.StartTimer()
	}
	b.ReportMetric(slowest.Seconds(), "max-s")
}

// BenchmarkFence is from the proposal of a withdrawal to the entry that says that it
// holds everywhere, as the leader sees it applied.
func BenchmarkFence(b *testing.B) {
	l := benchmarkLab(b)
	l.awaitLease(l.all()...)
	leader := l.leader()
	n := leader.node.Load()
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		who := l.principal()
		began := time.Now()
		b.StartTimer()
		index := l.withdraw(who, leader)
		for at := index; n.View().Fence(index).FencedAt == 0; at = n.View().Position().Index {
			<-n.Changed(at)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
