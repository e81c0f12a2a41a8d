package store

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/fsmtest"
)

// BenchmarkIssue is what certificates cost a node that follows, announced and recorded
// so many in an entry, one transaction for each entry.
func BenchmarkIssue(b *testing.B) {
	for _, size := range []int{1, 32} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			script := append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)
			apply(b, s, batch(1, script))
			index, first := uint64(len(script)), 0
			for b.Loop() {
				b.StopTimer()
				intents, record := fsmtest.Issue(first, size)
				first += size
				b.StartTimer()
				for _, e := range [][]byte{intents, record} {
					index++
					apply(b, s, []Entry{{Index: index, Data: e}})
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(first), "us/cert")
		})
	}
}

// manyCertificates is a state with n of them.
func manyCertificates(b *testing.B, n int) *Store {
	s := open(b, b.TempDir(), Options{})
	script := append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)
	for first := 0; first < n; first += 160 {
		intents, record := fsmtest.Issue(first, 160)
		script = append(script, intents, record)
	}
	for i := 0; i < len(script); i += 100 {
		apply(b, s, batch(uint64(i+1), script[i:min(i+100, len(script))]))
	}
	return s
}

// BenchmarkRestoreCertificates is what a new node does with a snapshot.
func BenchmarkRestoreCertificates(b *testing.B) {
	const certificates = 64_000
	n, err := manyCertificates(b, certificates).Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	var taken bytes.Buffer
	if _, err := n.Write(&taken); err != nil {
		b.Fatal(err)
	}
	n.Release()
	for b.Loop() {
		s := open(b, b.TempDir(), Options{})
		if _, replaced, err := s.Restore(bytes.NewReader(taken.Bytes())); err != nil || !replaced {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/certificates, "ns/cert")
}

// BenchmarkScanCertificates is what a start reads before the node may sign.
func BenchmarkScanCertificates(b *testing.B) {
	const certificates = 16_000
	s := manyCertificates(b, certificates)
	for b.Loop() {
		if _, err := s.Scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/certificates, "ns/cert")
}

// BenchmarkRevoke is what sixteen requests to revoke a certificate cost a node that
// follows, in one transaction: each an entry of its own, or so many in each.
func BenchmarkRevoke(b *testing.B) {
	const requests = 16
	for _, each := range []int{1, 8, requests} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			script := append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)
			script = append(script, fsmtest.RaiseFormat(len(script)))
			apply(b, s, batch(1, script))
			index, issued, revoked := uint64(len(script)), 0, 0
			enter := func(entries ...[]byte) (out []Entry) {
				for _, e := range entries {
					index++
					out = append(out, Entry{Index: index, Data: e})
				}
				return out
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for ; issued < revoked+requests; issued += certBatch {
					intents, record := fsmtest.Issue(issued, certBatch)
					apply(b, s, enter(intents, record))
				}
				var entries [][]byte
				for range requests / each {
					entries = append(entries, fsmtest.Gathered(revoked, each, certBatch, fsmtest.CertAt(issued, certBatch)))
					revoked += each
				}
				b.StartTimer()
				apply(b, s, enter(entries...))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(revoked)/1000, "us/cert")
		})
	}
}

// certBatch is how many certificates share the entries that issue them.
const certBatch = 160
