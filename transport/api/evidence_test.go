package api

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestSignatureReport: one node answers, the other does not, and the report says so.
func TestSignatureReport(t *testing.T) {
	n := start(t)
	n.create(createCI)
	v := n.ledger.View()
	other := v.NodeByName("node2").ID
	n.ledger.Must(t, &command.BindInstance{Key: "ci", Version: 1, Node: other, CKAID: v.Instance("ci", 1, other).CKAID, SPKI: []byte{0x30, 0}, KID: strings.Repeat("A", 43), Driver: "soft"})
	for range 3 {
		get[wire.Signature](t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci"), wire.SignRequest{Message: []byte("hello")}))
	}
	path := wire.Path(wire.PathSignatureReport, "ci")
	var r wire.SignatureReport
	for end := time.Now().Add(10 * time.Second); r.Released != 3 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		r = get[wire.SignatureReport](t, n.ask("auditor", "GET", path+"?limit=2", nil)) // outcomes follow with the next sync
	}
	if r.Released != 3 || r.Open != 0 || len(r.Items) != 2 || r.Next == "" || r.Items[0].Caller != "signer" || r.Items[0].Node != "n1" || r.Items[0].Digest == "" {
		t.Fatalf("%+v", r)
	}
	if len(r.Callers) != 1 || r.Callers[0] != (wire.CallerCount{Caller: "signer", Released: 3}) {
		t.Errorf("%+v", r.Callers)
	}
	if r.Complete || len(r.Nodes) != 2 {
		t.Fatalf("%+v", r.Nodes)
	}
	for _, l := range r.Nodes {
		if l.Node == "n1" && (l.State != wire.LedgerComplete || l.Released != 3 || l.KnownTo == 0) || l.Node == "node2" && (l.State != wire.LedgerUnreachable || !strings.Contains(string(l.Why), "never reported")) {
			t.Errorf("%+v", l)
		}
	}
	more := get[wire.SignatureReport](t, n.ask("auditor", "GET", path+"?limit=2&cursor="+string(r.Next), nil))
	if len(more.Items) != 1 || more.Next != "" {
		t.Errorf("%+v", more)
	}
	rows, err := csv.NewReader(strings.NewReader(string(n.ask("auditor", "GET", path+"?format=csv", nil).body))).ReadAll()
	if err != nil || len(rows) != 1+3+2 {
		t.Errorf("%q, %v", rows, err)
	}
	refused(t, n.ask("signer", "GET", path, nil), wire.Denied)
	refused(t, n.ask("auditor", "GET", wire.Path(wire.PathSignatureReport, "nosuch"), nil), wire.KeyNotFound)
	for _, bad := range []string{"since=yesterday", "cursor=x", "limit=0", "format=xml", "version=x"} {
		refused(t, n.ask("auditor", "GET", path+"?"+bad, nil), wire.Invalid)
	}
}

func TestConfirmPurpose(t *testing.T) {
	n := start(t)
	n.create(createCI)
	path := wire.Path(wire.PathConfirmPurpose, "ci")
	op := get[wire.Operation](t, n.ask("admin", "POST", path, wire.ConfirmPurpose{BusinessReason: "signs the nightly builds"}))
	if op.Verb != "confirm" || op.Key != "ci" {
		t.Errorf("%+v", op)
	}
	k := n.ledger.View().Key("ci")
	if k.Reason != "signs the nightly builds" || k.ConfirmBy < n.clock.At().Add(364*lifecycle.Day) {
		t.Errorf("%+v", k)
	}
	refused(t, n.ask("admin", "POST", path, wire.ConfirmPurpose{}), wire.Invalid)
	refused(t, n.ask("signer", "POST", path, wire.ConfirmPurpose{BusinessReason: "x"}), wire.Denied)
}
