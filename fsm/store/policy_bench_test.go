package store

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkSetPolicy is what a change of a key's policy costs each node that takes it in
// from another, in batches of as many as are committed together. It also counts the
// pages that reach the file.
func BenchmarkSetPolicy(b *testing.B) {
	const keys = 64
	policy := lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)
	for _, size := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			apply(b, s, batch(1, fsmtest.Script(keys)))
			entries := make([]Entry, b.N*size)
			for i := range entries {
				n := keys + 1 + i
				entries[i] = Entry{Index: uint64(n + 1), Data: fsmtest.Encode(n, &command.SetPolicy{Key: fsmtest.KeyName(n%keys + 1), Policy: policy})}
			}
			before := s.current.Load().gen.db.Stats()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				apply(b, s, entries[i*size:(i+1)*size])
			}
			after := s.current.Load().gen.db.Stats()
			stats := after.Sub(&before)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(len(entries)), "us/entry")
			b.ReportMetric(float64(stats.TxStats.GetWrite())/float64(len(entries)), "writes/entry")
		})
	}
}
