package state_test

import (
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// succeed prepares, binds and publishes version 2 of corp on every node.
func (p *pki) succeed() {
	p.Helper()
	p.ok(&command.PrepareVersion{Key: corp, Version: 2, Instances: intents(corp, 2, p.nodes...)})
	for _, node := range p.nodes {
		b := bind(corp, 2, node)
		b.SPKI = der(0x30, b.SPKI)
		p.ok(b)
	}
	p.ok(&command.PublishVersion{Key: corp, Version: 2})
}

func (p *pki) gate() state.Gate {
	v := p.l.View()
	return v.Gate(v.Key(corp), v.Version(corp, 2), lifecycle.GateActivate, v.Clock())
}

// waitsFor checks which nodes the gate names, and that Apply judges as it does.
func (p *pki) waitsFor(nodes ...int) {
	p.Helper()
	g := p.gate()
	if len(g.Uncertified) != len(nodes) || g.Open != (len(nodes) == 0) {
		p.Errorf("gate %+v, want it to wait for %v", g, nodes)
	}
	for _, n := range g.Uncertified {
		if !slices.ContainsFunc(nodes, func(i int) bool { return p.nodes[i] == n.ID }) {
			p.Errorf("the gate waits for %s", n.Name)
		}
	}
	if len(nodes) > 0 {
		p.no(state.NotReady, &command.ActivateVersion{Key: corp, Version: 2})
		p.no(state.NotReady, &command.ActivateVersion{Key: corp, Version: 2, Early: true, Comment: "now"})
	}
}

// TestIssuerWaitsForCACerts: the next version of an issuer signs nothing before every
// node that would issue with it can, and the version before it upholds what it issued.
func TestIssuerWaitsForCACerts(t *testing.T) {
	p := newPKI(t)
	before := p.issued("a.test", "web-01")
	p.succeed()
	p.waitsFor(0, 1, 2)
	p.ok(p.bindCA(2, 0))
	p.ok(p.bindCA(2, 2))
	p.waitsFor(1)
	p.ok(p.bindCA(2, 1))
	p.waitsFor()
	p.ok(&command.ActivateVersion{Key: corp, Version: 2})
	if v := p.l.View(); v.Version(corp, 1).State != lifecycle.Deactivated || !v.Instance(corp, 1, p.nodes[0]).MayUphold(v.Version(corp, 1)) {
		t.Error("the version before it upholds nothing")
	}
	p.ok(revokeCert(lifecycle.Superseded, before.serial))
	p.ok(p.crlCommand(1, "tbs")) // by the version before it
}

// TestIssuerGate: whom the gate does not wait for, and what closes it again.
func TestIssuerGate(t *testing.T) {
	p := newPKI(t)
	p.succeed()
	for i := range p.nodes {
		p.ok(p.bindCA(2, i))
	}
	s, _ := lifecycle.SerialOf(p.l.View().CACert(corp, 2, p.nodes[1]).Serial)
	p.ok(revokeCert(lifecycle.CACompromise, s))
	p.waitsFor(1) // its CA certificate is on the CRL
	p.ok(&command.SetNodeStatus{ID: p.nodes[1], Status: lifecycle.Quarantined, Reason: "drill"})
	p.waitsFor() // it would sign nothing
}

// TestIssuerGateSkipped: who skips the gate waits for no CA certificate.
func TestIssuerGateSkipped(t *testing.T) {
	p := newPKI(t)
	p.succeed()
	p.ok(&command.SkipGate{Key: corp, Version: 2, Gate: lifecycle.GateActivate, Comment: "drill"})
	p.waitsFor()
	p.ok(&command.ActivateVersion{Key: corp, Version: 2})
}

// TestIssuerEmergency: a replacement signs at once, and its CA certificates follow.
func TestIssuerEmergency(t *testing.T) {
	p := newPKI(t)
	p.ok(&command.Replace{Key: corp, Version: 2, Reason: lifecycle.KeyCompromise, Comment: "leak", Instances: intents(corp, 2, p.nodes...)})
	b := bind(corp, 2, p.nodes[0])
	b.SPKI = der(0x30, b.SPKI)
	p.ok(b)
	v := p.l.View()
	if v.Key(corp).Active != 2 || v.Instance(corp, 1, p.nodes[0]).MayUphold(v.Version(corp, 1)) {
		t.Errorf("active: %d; the old version upholds: %t", v.Key(corp).Active, v.Instance(corp, 1, p.nodes[0]).MayUphold(v.Version(corp, 1)))
	}
	p.ok(p.bindCA(2, 0))
}
