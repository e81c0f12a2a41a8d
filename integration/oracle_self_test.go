package integration

import (
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// TestOracles shows that each judge finds what it is there for: a violation beside
// its innocent twin.
func TestOracles(t *testing.T) {
	const sec = int64(time.Second)
	n1 := &node{process: &process{name: "n1"}}
	gate := func(begun int64, index uint64, key, caller string) event {
		return event{Name: "gate", NS: begun + sec, BegunNS: begun, Index: index, Key: key, Caller: caller, node: n1}
	}
	suspended := &withdrawal{what: "suspend", key: "k", index: 100, fencedNS: 50 * sec, settledNS: 53 * sec, reached: wire.Settled, answeredAt: 1_000_000, regained: 110}
	revoked := &withdrawal{what: "revoke", key: "k", index: 100, fencedNS: 50 * sec, settledNS: 53 * sec, reached: wire.Settled, answeredAt: 1_000_000, final: true}
	token := &withdrawal{what: "token", key: "k", subject: "robot", index: 100, fencedNS: 50 * sec, final: true}
	replaced := &withdrawal{what: "replace", key: "k", version: 1, index: 100, fencedNS: 50 * sec, settledNS: 53 * sec, reached: wire.Settled, answeredAt: 1_000_000, final: true}
	unknown := &withdrawal{what: "suspend", key: "k"}
	for _, c := range []struct {
		name  string
		judge func(*evidence) []string
		ev    evidence
		bad   bool
	}{
		{"an old state passes after the fence", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(51*sec, 99, "k", "admin")}}, true},
		{"also with another key", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(51*sec, 99, "other", "admin")}}, true},
		{"it began before the fence", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(49*sec, 99, "k", "admin")}}, false},
		{"another key, by a new state", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(51*sec, 100, "other", "admin")}}, false},
		{"a state in which it is suspended", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(40*sec, 105, "k", "admin")}}, true},
		{"a state in which it was given back", (*evidence).gates, evidence{withdrawals: []*withdrawal{suspended}, events: []event{gate(51*sec, 110, "k", "admin")}}, false},
		{"a revocation has no end", (*evidence).gates, evidence{withdrawals: []*withdrawal{revoked}, events: []event{gate(51*sec, 110, "k", "admin")}}, true},
		{"a revoked token", (*evidence).gates, evidence{withdrawals: []*withdrawal{token}, events: []event{gate(49*sec, 101, "k", "robot")}}, true},
		{"a version that was replaced", (*evidence).gates, evidence{withdrawals: []*withdrawal{replaced}, events: []event{{Name: "gate", BegunNS: 51 * sec, Index: 110, Key: "k", Version: 1, node: n1}}}, true},
		{"the one in its place", (*evidence).gates, evidence{withdrawals: []*withdrawal{replaced}, events: []event{{Name: "gate", BegunNS: 51 * sec, Index: 110, Key: "k", Version: 2, node: n1}}}, false},
		{"somebody else's token", (*evidence).gates, evidence{withdrawals: []*withdrawal{token}, events: []event{gate(51*sec, 101, "k", "admin")}}, false},
		{"nobody knows whether it happened", (*evidence).gates, evidence{withdrawals: []*withdrawal{unknown}, events: []event{gate(51*sec, 99, "k", "admin")}}, false},

		{"it had vouched for more", (*evidence).acknowledged, evidence{events: []event{{Name: "ack", Index: 100, node: n1, PID: 1}, {Name: "gate", Index: 99, node: n1, PID: 1}}}, true},
		{"it vouched afterwards", (*evidence).acknowledged, evidence{events: []event{{Name: "gate", Index: 99, node: n1, PID: 1}, {Name: "ack", Index: 100, node: n1, PID: 1}}}, false},
		{"another process had", (*evidence).acknowledged, evidence{events: []event{{Name: "ack", Index: 100, node: n1, PID: 1}, {Name: "gate", Index: 99, node: n1, PID: 2}}}, false},

		{"accepted after settled", (*evidence).settledAcceptances, evidence{withdrawals: []*withdrawal{suspended}, accepted: []acceptance{{key: "k", sdk: true, at: 54 * sec, index: 99}}}, true},
		{"accepted before", (*evidence).settledAcceptances, evidence{withdrawals: []*withdrawal{suspended}, accepted: []acceptance{{key: "k", sdk: true, at: 52 * sec, index: 99}}}, false},
		{"a raw caller believes anything", (*evidence).settledAcceptances, evidence{withdrawals: []*withdrawal{suspended}, accepted: []acceptance{{key: "k", at: 54 * sec, index: 99}}}, false},
		{"after it was given back", (*evidence).settledAcceptances, evidence{withdrawals: []*withdrawal{suspended}, accepted: []acceptance{{key: "k", sdk: true, at: 54 * sec, index: 111}}}, false},
		{"past all deadlines", (*evidence).lateAcceptances, evidence{accepted: []acceptance{{sdk: true, call: 0, at: 6 * sec}}}, true},
		{"within them", (*evidence).lateAcceptances, evidence{accepted: []acceptance{{sdk: true, call: 0, at: 2 * sec}}}, false},

		{"recorded after the revocation", (*evidence).strictRecords, evidence{strict: map[string]bool{"k": true}, withdrawals: []*withdrawal{revoked}, accepted: []acceptance{{key: "k", strict: true, record: 101}}}, true},
		{"recorded before it", (*evidence).strictRecords, evidence{strict: map[string]bool{"k": true}, withdrawals: []*withdrawal{revoked}, accepted: []acceptance{{key: "k", strict: true, record: 99}}}, false},
		{"recorded nowhere", (*evidence).strictRecords, evidence{strict: map[string]bool{"k": true}, accepted: []acceptance{{key: "k"}}}, true},
		{"recorded after another version was replaced", (*evidence).strictRecords, evidence{strict: map[string]bool{"k": true}, withdrawals: []*withdrawal{replaced}, accepted: []acceptance{{key: "k", version: 2, strict: true, record: 101}}}, false},
		{"no strict key", (*evidence).strictRecords, evidence{accepted: []acceptance{{key: "k"}}}, false},

		{"good while suspended", (*evidence).goodAnswers, evidence{withdrawals: []*withdrawal{suspended}, answers: []answer{{key: "k", status: wire.Good, index: 104, asOf: 1_000_000, askedAt: 1_000_000}}}, true},
		{"good by a version that was replaced", (*evidence).goodAnswers, evidence{withdrawals: []*withdrawal{replaced}, answers: []answer{{key: "k", version: 1, status: wire.Good, index: 104, asOf: 1_000_000, askedAt: 1_000_000}}}, true},
		{"good by the one in its place", (*evidence).goodAnswers, evidence{withdrawals: []*withdrawal{replaced}, answers: []answer{{key: "k", version: 2, status: wire.Good, index: 104, asOf: 1_000_000, askedAt: 1_000_000}}}, false},
		{"good as of later", (*evidence).goodAnswers, evidence{withdrawals: []*withdrawal{suspended}, answers: []answer{{key: "k", status: wire.Good, index: 99, asOf: 1_000_100, askedAt: 1_000_100}}}, true},
		{"good as of before", (*evidence).goodAnswers, evidence{withdrawals: []*withdrawal{suspended}, answers: []answer{{key: "k", status: wire.Good, index: 99, asOf: 999_000, askedAt: 1_000_100}}}, false},
		{"good by a state from before an acknowledgement", (*evidence).goodAnswers, evidence{events: []event{{Name: "ack", Index: 100, NS: sec, node: n1}}, answers: []answer{{node: "n1", key: "k", status: wire.Good, index: 99, call: 2 * sec}}}, true},
		{"asked before it", (*evidence).goodAnswers, evidence{events: []event{{Name: "ack", Index: 100, NS: sec, node: n1}}, answers: []answer{{node: "n1", key: "k", status: wire.Good, index: 99, call: sec / 2}}}, false},
		{"good and stale", (*evidence).goodAnswers, evidence{answers: []answer{{key: "k", level: wire.Stale, status: wire.Good, asOf: 990_000, askedAt: 1_000_000}}}, true},
		{"suspended and stale", (*evidence).goodAnswers, evidence{answers: []answer{{key: "k", level: wire.Stale, status: wire.OnHold, asOf: 990_000, askedAt: 1_000_000}}}, false},
	} {
		if found := c.judge(&c.ev); (len(found) > 0) != c.bad {
			t.Errorf("%s: %q, want a violation: %v", c.name, found, c.bad)
		}
	}
}
