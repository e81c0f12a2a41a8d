package report

import (
	"fmt"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Kinds of dependents.
const (
	DependentConsumer = "consumer"    // a registered verifier
	DependentCaller   = "caller"      // a principal that may sign
	DependentCerts    = "certificate" // certificates that the key has issued
)

// Dependent is one that something would happen to if the key ended.
type Dependent struct {
	Kind       string
	Name       string
	Class      string // of a consumer; of a caller its kind
	Owner      string
	Contact    string
	Expect     int // consumer: instances that must confirm
	Have       int // consumer: of these, with a confirmation that stands
	Count      uint64
	LastSeenAt lifecycle.Instant // consumer: its last confirmation for the key
	Effect     string            // what would happen if the key ended now
	Findings   []Finding
}

// Instance looks at how one key pair is kept.
func Instance(v *lifecycle.Version, i *lifecycle.Instance) (out []Finding) {
	name := string(i.Key)
	if v.State == lifecycle.Destroyed || i.Condition == lifecycle.Erased {
		return nil
	}
	known := false
	for _, a := range i.Attributes {
		switch a {
		case "CKA_EXTRACTABLE=true":
			out, known = append(out, finding(Extractable, fmt.Sprintf("the private key of %s version %d can be taken out of its key store (%s)", name, v.Number, i.Driver), "chancery key rotate "+name)), true
		case "CKA_EXTRACTABLE=false":
			known = true
		}
	}
	if !known && i.Condition == lifecycle.Ready {
		out = append(out, finding(AttributesUnknown, fmt.Sprintf("the key store of %s version %d did not report CKA_EXTRACTABLE", name, v.Number), "chancery keystore check"))
	}
	if i.Condition == lifecycle.Lost {
		out = append(out, finding(InstanceLost, "the node does not find its key pair any more: "+i.Detail, "chancery key show "+name))
	}
	return out
}

// Dependents of a key: who verifies what it signs, who signs with it, and what it has
// certified.
func Dependents(v *state.View, k *lifecycle.Key, now lifecycle.Instant) (out []Dependent) {
	for _, c := range v.ConsumersOf(k.ID) {
		out = append(out, consumer(v, k, c, now))
	}
	for _, p := range v.Principals() {
		if d, may := caller(k, p); may {
			out = append(out, d)
		}
	}
	for _, ver := range v.Versions(k.ID) {
		for _, i := range v.Instances(k.ID, ver.Number) {
			if t := v.CertTally(i.KID); i.KID != "" && t.Issued > t.Revoked {
				out = append(out, Dependent{Kind: DependentCerts, Name: i.KID, Count: t.Issued - t.Revoked, Effect: fmt.Sprintf("%d certificates were issued and not revoked", t.Issued-t.Revoked)})
			}
		}
	}
	return out
}

func consumer(v *state.View, k *lifecycle.Key, c *lifecycle.Consumer, now lifecycle.Instant) Dependent {
	d := Dependent{Kind: DependentConsumer, Name: c.Name, Class: string(c.Class), Owner: c.Owner, Contact: c.Contact, Expect: c.Expect}
	known := false
	for _, r := range v.ConfirmationsOf(c.Name, k.ID) {
		known, d.LastSeenAt = true, max(d.LastSeenAt, r.At)
		if r.Standing(now) {
			d.Have++
		}
	}
	switch c.Class {
	case lifecycle.Required:
		d.Effect = "it would refuse what the key signed, once it has loaded a trust set without it; rotations wait for it"
	default:
		d.Effect = "it would refuse what the key signed, once it has loaded a trust set without it"
	}
	if c.Class == lifecycle.Required && d.Have < d.Expect {
		message := fmt.Sprintf("%d of %d instances of %s have a confirmation that stands", d.Have, d.Expect, c.Name)
		if !known {
			message = c.Name + " has never confirmed what it trusts"
		}
		d.Findings = append(d.Findings, finding(ConfirmationLapsed, message, "chancery consumer show "+c.Name))
	}
	return d
}

func caller(k *lifecycle.Key, p *lifecycle.Principal) (Dependent, bool) {
	if p.RevokedAt != 0 || !access.Decide(p, access.KeySign, k.ID).Allowed || !access.DecideCaller(p, k).Allowed {
		return Dependent{}, false
	}
	d := Dependent{Kind: DependentCaller, Name: p.Name, Class: string(p.Kind), Effect: "it could not sign any more"}
	if p.Kind == lifecycle.Person {
		d.Findings = append(d.Findings, finding(HumanCaller, p.Name+" is a person and may sign with "+string(k.ID), "chancery principal show "+p.Name))
	}
	if len(k.Policy.AllowedCallers) == 0 {
		d.Findings = append(d.Findings, finding(AnyCaller, "the policy of "+string(k.ID)+" names no callers: a role on a pattern that matches its name is enough", "chancery key policy set "+string(k.ID)))
	}
	return d, true
}
