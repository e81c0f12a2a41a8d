package audit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkEncode is the CPU of one record without queue and disk: bounds, body,
// chaining and hash.
func BenchmarkEncode(b *testing.B) {
	r := fullRecord()
	r.Code, r.Detail = "", ""
	body, line := make([]byte, 0, 1024), make([]byte, 0, 2048)
	prev := zeroHash
	b.ReportAllocs()
	for b.Loop() {
		r.fit()
		if err := r.check(); err != nil {
			b.Fatal(err)
		}
		body = appendBody(body[:0], &r, "n1")
		line, prev = appendLine(line[:0], 7, &prev, body)
	}
	b.SetBytes(int64(len(line)))
}

func BenchmarkParse(b *testing.B) {
	r := fullRecord()
	line, _ := appendLine(nil, 7, &zeroHash, appendBody(nil, &r, "n1"))
	line = line[:len(line)-1]
	scratch := make([]byte, 0, 2048)
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		var err error
		if _, scratch, err = parseLine(line, scratch); err != nil {
			b.Fatal(err)
		}
	}
}

// noSync leaves out the device: what remains is the journal's own cost.
type noSync struct{ osDisk }

func (noSync) create(path string) (file, error) {
	f, err := osDisk{}.create(path)
	return noSyncFile{f}, err
}

type noSyncFile struct{ file }

func (noSyncFile) Datasync() error { return nil }

// BenchmarkAppend measures records through the journal, with the machine's disk
// and without, and how many records share one sync.
func BenchmarkAppend(b *testing.B) {
	for _, disk := range []struct {
		name string
		disk disk
	}{{"disk", osDisk{}}, {"nosync", noSync{}}} {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/callers=%d", disk.name, callers), func(b *testing.B) {
				counted := &countDisk{disk: disk.disk}
				j := open(b, b.TempDir(), Options{disk: counted})
				r := fullRecord()
				r.Code, r.Detail = "", ""
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				var left atomic.Int64
				left.Store(int64(b.N))
				for range callers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := j.Append(context.Background(), r); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/float64(max(counted.syncs.Load(), 1)), "records/sync")
			})
		}
	}
}

type countDisk struct {
	disk
	syncs atomic.Int64
}

func (d *countDisk) create(path string) (file, error) {
	f, err := d.disk.create(path)
	return countFile{f, d}, err
}

type countFile struct {
	file
	d *countDisk
}

func (f countFile) Datasync() error {
	f.d.syncs.Add(1)
	return f.file.Datasync()
}
