package audit

import (
	"bytes"
	"testing"
)

// FuzzParseLine: no input panics, and what is accepted encodes to the same bytes.
func FuzzParseLine(f *testing.F) {
	r := fullRecord()
	full, _ := appendLine(nil, 12, &zeroHash, appendBody(nil, &r, "n1"))
	sparse, _ := appendLine(nil, 1, &zeroHash, appendBody(nil, &Record{At: instant, Kind: Stop}, "n1"))
	for _, line := range [][]byte{full, sparse} {
		line = line[:len(line)-1]
		f.Add(line)
		f.Add(line[:len(line)/2])
		f.Add(bytes.Replace(line, []byte(`"node":"n1"`), []byte(`"node":"\u0009\ud800\"`), 1))
	}
	f.Add([]byte(`{"seq":1,"prev":"\`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, _, err := parseLine(line, nil)
		if err != nil {
			return
		}
		if got := e.AppendJSON(nil); !bytes.Equal(got, line) {
			t.Errorf("%q accepted, encodes as %q", line, got)
		}
	})
}

// FuzzParseHeader is the same for a segment's first line.
func FuzzParseHeader(f *testing.F) {
	h := header{node: "n1", segment: 3, firstSeq: 7, at: instant, prev: zeroHash}
	line := h.append(nil)
	f.Add(line[:len(line)-1])
	f.Add([]byte(`{"chancery_audit":2}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		h, err := parseHeader(line)
		if err != nil {
			return
		}
		if got := h.append(nil); string(got[:len(got)-1]) != string(line) {
			t.Errorf("%q accepted, encodes as %q", line, got)
		}
	})
}

// FuzzRecord: every record that the bounds accept comes back as it went in.
func FuzzRecord(f *testing.F) {
	f.Add("sign", "alice", "said \"no\"\n\x1b\u202e", "0a", uint64(3), true)
	f.Add("outcome", "\xff", "\xff\xfe", "", uint64(0), false)
	f.Fuzz(func(t *testing.T, kind, text, detail, digest string, number uint64, allowed bool) {
		r := Record{
			At: instant, Kind: Kind(kind), Principal: text, Verb: text, Key: text, Version: number, KID: text,
			RequestID: text, Remote: text, Allowed: allowed, Code: text, Detail: detail, Digest: digest, Index: number,
		}
		r.fit()
		if r.check() != nil {
			return
		}
		line, hash := appendLine(nil, 1, &zeroHash, appendBody(nil, &r, "n1"))
		e, _, err := parseLine(line[:len(line)-1], nil)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		r.At, r.Node = e.At, "n1"
		if e.Record != r || e.Hash != string(hash[:]) {
			t.Errorf("%+v came back as %+v", r, e.Record)
		}
	})
}
