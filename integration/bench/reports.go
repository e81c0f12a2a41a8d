//go:build linux && cgo

package main

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority/report"
	"github.com/chancery-project/chancery/authority/rotation"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	reportKeys      = 100_000
	reportConsumers = 1000
	reportBound     = 2000 // ms
	passBound       = 1000 // ms
	memoryBound     = 500  // MiB
)

// reports measures what somebody with many keys waits for, on a state of 100,000 keys
// of three instances each that all have signed, and 1,000 consumers who each trust a
// hundred of them and have confirmed: report rotation, a pass of the rotation loop, and
// the memory that the state takes. Rows that a node has on its disk only are not
// counted, as they are not in its memory either.
func (b *bench) reports() error {
	before := heapMiB()
	view, at, err := populated()
	if err != nil {
		return fmt.Errorf("make %d keys: %w", reportKeys, err)
	}
	memory := heapMiB() - before
	var reporting, passing []float64
	for range b.rounds {
		begun := time.Now()
		t := report.Total(view, at)
		reporting = append(reporting, ms(time.Since(begun)))
		if t.Keys != reportKeys {
			return fmt.Errorf("the report is of %d keys", t.Keys)
		}
		begun = time.Now()
		if steps := rotation.Plan(view, at, func() lifecycle.CKAID { return lifecycle.CKAID{1} }); len(steps) != 0 {
			return fmt.Errorf("%d steps are due at once", len(steps))
		}
		passing = append(passing, ms(time.Since(begun)))
	}
	b.table.atMost("report rotation, 100,000 keys, 1,000 consumers", median(reporting), reportBound, "ms", "all keys and totals; a page of them costs less")
	b.table.atMost("a pass of the rotation loop, likewise", median(passing), passBound, "ms", "no step is due")
	b.table.atMost("memory of that state", memory, memoryBound, "MiB", "three instances a key, tallies and confirmations included")
	runtime.KeepAlive(view)
	return b.confirmations()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func heapMiB() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// population fills a state.
type population struct {
	machine *state.Machine
	rows    *ledgertest.Memory
	at      lifecycle.Instant
	nodes   []lifecycle.NodeID
	err     error
}

func (p *population) apply(body command.Body) { p.applyAs("admin", body) }

func (p *population) applyAs(actor string, body command.Body) {
	if p.err != nil {
		return
	}
	cmd := &command.Command{Header: command.Header{At: p.at, Actor: actor}, Body: body}
	entry, err := cmd.Encode()
	if err != nil {
		p.err = fmt.Errorf("encode %s: %w", body.Kind(), err)
		return
	}
	if o := p.machine.Apply(p.rows, p.machine.Index()+1, 0, entry); !o.OK() {
		p.err = fmt.Errorf("%s: %w", body.Kind(), o.Err())
	}
}

// populated is the state, and its time.
func populated() (*state.View, lifecycle.Instant, error) {
	p := &population{machine: state.NewMachine(), rows: ledgertest.NewMemory(), at: 1767355200000}
	for _, name := range []string{"n1", "n2", "n3"} {
		p.nodes = append(p.nodes, ledgertest.NodeID(name))
	}
	p.genesis()
	for n := range reportKeys {
		p.key(n)
	}
	for n := range reportConsumers {
		p.consumer(n)
	}
	root := p.machine.Seal(p.rows)
	return state.NewView(root, nil), p.at, p.err
}

func (p *population) genesis() {
	p.apply(&command.Init{ClusterID: strings.Repeat("ab", 16), Name: "bench", Node: ledgertest.Record(p.nodes[0], "n1"),
		Admin:    command.PrincipalRecord{Name: "admin", Kind: lifecycle.Person, Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}, Certs: []string{strings.Repeat("c3", 32)}},
		Settings: lifecycle.DefaultSettings()})
	for i, id := range p.nodes[1:] {
		token := fmt.Sprintf("token-%04d", i)
		p.apply(&command.AddJoinToken{ID: token, MACKey: bytes.Repeat([]byte{1}, 32), ExpiresAt: p.at.Add(lifecycle.Hour)})
		p.apply(&command.JoinNode{TokenID: token, Node: ledgertest.Record(id, fmt.Sprintf("n%d", i+2))})
		p.apply(&command.SetNodeRoles{ID: id, Voter: true, Signer: true})
	}
}

func reportKeyName(n int) lifecycle.KeyID { return lifecycle.KeyID(fmt.Sprintf("key-%06d", n)) }

func reportKID(n, node int) string { return fmt.Sprintf("%042d", n*10+node) + "A" }

// key makes one that signs on three nodes and has signed there.
func (p *population) key(n int) {
	name := reportKeyName(n)
	c := &command.CreateKey{Name: name, Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform@example.com",
		Reason: "signs the tokens of a service", ConfirmBy: p.at.Add(365 * lifecycle.Day), Policy: lifecycle.DefaultPolicy(lifecycle.ForToken, lifecycle.ES256)}
	for i, id := range p.nodes {
		c.Instances = append(c.Instances, command.Intent{Node: id, CKAID: ledgertest.CKAID(fmt.Sprint(n, i))})
	}
	p.apply(c)
	for i, in := range c.Instances {
		spki := bytes.Repeat([]byte{0x30}, 91) // as long as that of a P-256 key
		p.apply(&command.BindInstance{Key: name, Version: 1, Node: in.Node, CKAID: in.CKAID, SPKI: spki, KID: reportKID(n, i), Driver: "pkcs11",
			Attributes: []string{"CKA_EXTRACTABLE=false", "CKA_SENSITIVE=true"}})
	}
	p.apply(&command.ActivateVersion{Key: name, Version: 1})
	for i, id := range p.nodes {
		p.apply(&command.ReportTally{Node: id, Seq: uint64(n + 1), Hash: make([]byte, 32), At: p.at,
			Items: []command.TallyItem{{Key: name, Version: 1, KID: reportKID(n, i), Released: 1000, LastAt: p.at}}})
	}
}

// consumer registers one with a hundred keys and one instance, which confirms them all.
func (p *population) consumer(n int) {
	c := command.ConsumerRecord{Name: fmt.Sprintf("verifier-%04d", n), Owner: "edge@example.com", Contact: "edge@example.com", Class: lifecycle.Required, Expect: 1, Lifetime: lifecycle.Day}
	r := &command.RecordConfirmations{}
	for i := range reportKeys / reportConsumers {
		number := n*(reportKeys/reportConsumers) + i
		c.Keys = append(c.Keys, reportKeyName(number))
		set := command.LoadedSet{Key: reportKeyName(number), Digest: "sha256:" + strings.Repeat("ee", 32)}
		for node := range p.nodes {
			set.KIDs = append(set.KIDs, reportKID(number, node))
		}
		r.Sets = append(r.Sets, set)
		r.Items = append(r.Items, command.ConfirmationItem{Consumer: c.Name, Instance: "pod-1", Set: uint64(i)})
	}
	p.apply(&command.RegisterConsumer{Consumer: c, Enrolment: command.Enrolment{Hash: secretOf(n), ExpiresAt: p.at.Add(lifecycle.Hour)}})
	p.applyAs("system", r)
}

func secretOf(n int) []byte {
	return append(bytes.Repeat([]byte{7}, 28), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
