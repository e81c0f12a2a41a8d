package wire

import (
	"encoding/json"
	"testing"
)

// revokeObject is the shape that scripts rely on, with every level.
const revokeObject = `{"request_id":"r-1","verb":"revoke","key":"ci","versions":[3],"reason":"keyCompromise","compromised_since":"2026-01-01T00:00:00.000Z","comment":"INC-4411",` +
	`"reached":"fenced","complete":false,"committed":{"at":"2026-01-02T02:41:07.000Z","index":1901,"ms":4},"fenced":{"at":"2026-01-02T02:41:07.031Z","index":1902,"ms":31},` +
	`"settled":{"at":null,"by":"2026-01-02T02:41:09.531Z"},"published":{"at":"2026-01-02T02:41:07.000Z","caches_expire_by":{"jwks":"2026-01-02T02:46:07.000Z"}},` +
	`"nodes":[{"node":"n1","outcome":"acked","at":"2026-01-02T02:41:07.009Z","ms":9},{"node":"n3","outcome":"pending","at":null,"by":"2026-01-02T02:41:10.750Z","ms":0}],` +
	`"consumers_still_trusting":[],"next":["chancery key rotate ci"],"position":{"epoch":1,"index":1902,"log_size":977,"log_root":"AAAA"}}`

// TestRevokeObject: what is written is what is read, byte for byte.
func TestRevokeObject(t *testing.T) {
	var op Operation
	if err := json.Unmarshal([]byte(revokeObject), &op); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(op)
	if err != nil || string(b) != revokeObject {
		t.Errorf("written again, %v:\n%s\nwas\n%s", err, b, revokeObject)
	}
	for level, want := range map[string]bool{Committed: true, Fenced: true, Settled: false, Prepared: false, "": false} {
		if op.Has(level) != want {
			t.Errorf("has %q = %v", level, op.Has(level))
		}
	}
	if m := op.Missing(); len(m) != 1 || m[0].Node != "n3" || m[0].By == 0 {
		t.Errorf("missing = %+v", m)
	}
}
