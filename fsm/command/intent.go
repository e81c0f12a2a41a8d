package command

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ApprovalNamespace is the SSHSIG namespace of approvals: ssh-keygen -Y sign -n chancery.
const ApprovalNamespace = "chancery"

// IntentOf says what a command is meant to do, as "name: value" lines that people
// approve: every parameter, but no planned ids and times, for those are planned anew
// when the approvals are there. Empty and zero values have no line. ok is false for a
// command that no rule can ask approvals for. The texts of a command that passes Check
// hold no line breaks, so two intents are equal exactly if their lines are.
func IntentOf(b Body) (verb lifecycle.ApprovalVerb, subject string, lines []string, ok bool) {
	in := &intentLines{}
	switch c := b.(type) {
	case *ResumeVersion:
		verb, subject = lifecycle.ApproveResume, in.version(c.Key, c.Version)
		in.text("comment", c.Comment)
	case *ActivateVersion:
		if !c.Early {
			return "", "", nil, false // according to plan
		}
		verb, subject = lifecycle.ApproveActivate, in.version(c.Key, c.Version)
		in.flag("early", c.Early)
		in.text("comment", c.Comment)
	case *ScheduleDestroy:
		if c.Cancel {
			return "", "", nil, false
		}
		verb, subject = lifecycle.ApproveDestroy, in.version(c.Key, c.Version)
		in.text("comment", c.Comment)
	case *SetPolicy:
		verb, subject = lifecycle.ApprovePolicy, string(c.Key)
		in.setPolicy(c)
	case *AddPrincipal:
		verb, subject = lifecycle.ApprovePrincipals, c.Principal.Name
		in.principal(c)
	case *RevokePrincipal:
		verb, subject = lifecycle.ApprovePrincipals, c.Name
		in.text("principal", c.Name)
	case *SetSettings:
		verb = lifecycle.ApproveCluster
		in.settings(c.Settings)
	case *SkipGate:
		verb, subject = lifecycle.ApproveSkip, in.version(c.Key, c.Version)
		in.text("gate", string(c.Gate))
		in.text("comment", c.Comment)
	case *LiftSeal:
		verb, subject = lifecycle.ApproveUnseal, string(c.Node)
		in.text("node", string(c.Node))
		in.text("seal", c.ID)
		in.text("comment", c.Reason)
	case *UpdateConsumer:
		verb, subject = lifecycle.ApproveConsumers, c.Consumer.Name
		in.consumer(c)
	case *RetireConsumer:
		verb, subject = lifecycle.ApproveConsumers, c.Name
		in.text("consumer", c.Name)
		in.text("comment", c.Comment)
	case *WaiveConsumer:
		verb, subject = lifecycle.ApproveWaive, c.Consumer
		in.version(c.Key, c.Version)
		in.text("consumer", c.Consumer)
		in.text("gate", string(c.Gate))
		in.text("until", c.Until.String())
		in.text("comment", c.Comment)
	case *CreateIssuer:
		if c.Parent == "" {
			return "", "", nil, false // nobody believes it yet: a root by itself, an external one without its import
		}
		verb, subject = lifecycle.ApproveIssuers, string(c.Key.Name)
		in.newIssuer(c)
	case *SetIssuer:
		verb, subject = lifecycle.ApproveIssuers, string(c.Issuer)
		in.issuer(c)
	case *BindCACert:
		verb, subject = lifecycle.ApproveIssuers, in.version(c.Issuer, c.Version)
		in.caCertificate(c)
	case *SetProfile:
		verb, subject = lifecycle.ApproveProfiles, c.Name
		in.profile(c)
	case *DropProfile:
		verb, subject = lifecycle.ApproveProfiles, c.Name
		in.text("profile", c.Name)
	default:
		return "", "", nil, false
	}
	head := []string{"verb: " + string(verb), "command: " + b.Kind().String()}
	return verb, subject, append(head, in.lines...), true
}

// IntentDigest is the hex SHA-256 of the lines, each with its line break.
func IntentDigest(lines []string) string {
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

type intentLines struct{ lines []string }

func (in *intentLines) text(name, value string) {
	if value != "" {
		in.lines = append(in.lines, name+": "+value)
	}
}

func (in *intentLines) texts(name string, values []string) {
	for _, v := range values {
		in.lines = append(in.lines, name+": "+v)
	}
}

func (in *intentLines) number(name string, n int64) {
	if n != 0 {
		in.text(name, strconv.FormatInt(n, 10))
	}
}

// duration is in milliseconds, exactly, with what people read beside it.
func (in *intentLines) duration(name string, d lifecycle.Milliseconds) {
	if d != 0 {
		in.text(name, d.String())
	}
}

func (in *intentLines) flag(name string, set bool) {
	if set {
		in.text(name, "true")
	}
}

func (in *intentLines) version(key lifecycle.KeyID, n uint64) (subject string) {
	in.text("key", string(key))
	in.text("version", strconv.FormatUint(n, 10))
	return string(key) + "/" + strconv.FormatUint(n, 10)
}

func (in *intentLines) setPolicy(c *SetPolicy) {
	in.text("key", string(c.Key))
	in.text("owner", c.Owner)
	in.text("business-reason", c.Reason)
	if c.ConfirmBy != 0 {
		in.text("confirm-by", c.ConfirmBy.String())
	}
	for _, l := range c.Labels {
		in.text("label", strconv.Quote(l.Name)+" = "+strconv.Quote(l.Value))
	}
	p := c.Policy
	in.duration("rotate-every", p.RotateEvery)
	in.duration("max-age", p.MaxAge)
	in.duration("lead", p.Lead)
	in.duration("verify-window", p.VerifyWindow)
	in.duration("jwks-max-age", p.JWKSMaxAge)
	in.duration("max-ttl", p.MaxTTL)
	in.duration("destroy-wait", p.DestroyWait)
	in.number("min-ready", int64(p.MinReady))
	in.flag("publish", p.Publish)
	in.texts("input", p.Inputs)
	in.texts("type", p.Types)
	in.texts("audience", p.Audiences)
	in.text("issuer", p.Issuer)
	in.number("verify-one-in", int64(p.VerifyOneIn))
	in.flag("strict", p.Strict)
	in.rules(p.Approvals)
	in.texts("allowed-caller", p.AllowedCallers)
	in.flag("confirm-activate", p.ConfirmActivate)
	in.flag("confirm-withdraw", p.ConfirmWithdraw)
	in.flag("destroy-retired", p.DestroyRetired)
}

func (in *intentLines) principal(c *AddPrincipal) {
	p := c.Principal
	in.text("principal", p.Name)
	in.text("kind", string(p.Kind))
	in.flag("replace", c.Replace)
	for _, g := range p.Grants {
		in.text("role", g.String())
	}
	in.texts("ssh-key", p.SSHKeys)
	in.texts("certificate", p.Certs)
}

func (in *intentLines) consumer(c *UpdateConsumer) {
	r := c.Consumer
	in.text("consumer", r.Name)
	in.text("owner", r.Owner)
	in.text("contact", r.Contact)
	in.text("class", string(r.Class))
	in.number("expect", int64(r.Expect))
	for _, k := range r.Keys {
		in.text("key", string(k))
	}
	in.duration("lifetime", r.Lifetime)
	if c.Enrolment != nil {
		in.text("enrolment", hex.EncodeToString(c.Enrolment.Hash)) // whoever approves, approves this secret and no later one
		in.text("enrolment-until", c.Enrolment.ExpiresAt.String())
	}
}

func (in *intentLines) settings(s lifecycle.Settings) {
	in.text("public-url", s.PublicURL)
	in.duration("checkpoint-every", s.CheckpointEvery)
	in.duration("max-token-ttl", s.MaxTokenTTL)
	in.flag("insecure-trust-anchors", s.InsecureTrustAnchors)
	in.duration("business-reason-confirm", s.BusinessReasonConfirm)
	in.duration("lease", s.Lease)
	in.duration("request-age", s.RequestAge)
	in.rules(s.Approvals)
	in.texts("break-glass", s.BreakGlass)
	in.webhooks(s.Webhooks)
}

// webhooks stand in two lines each: a CA is known by its digest, for it has lines of
// its own.
func (in *intentLines) webhooks(hooks []lifecycle.Webhook) {
	for _, w := range hooks {
		in.text("webhook", w.Name+" "+w.URL+" "+strings.Join(w.Kinds, " "))
		if w.CA != "" {
			sum := sha256.Sum256([]byte(w.CA))
			in.text("webhook-ca", w.Name+" sha256:"+hex.EncodeToString(sum[:]))
		}
	}
}

func (in *intentLines) rules(rules []lifecycle.ApprovalRule) {
	for _, r := range rules {
		in.text("approval", string(r.Verb)+" needs "+strconv.Itoa(r.Needs)+" of "+strings.Join(r.Approvers, " "))
	}
}

// Target is which versions of which key a change that can need approvals is about: ""
// when it is about none.
func Target(body Body) (key lifecycle.KeyID, versions []uint64) {
	switch c := body.(type) {
	case *ResumeVersion:
		return c.Key, []uint64{c.Version}
	case *ActivateVersion:
		return c.Key, []uint64{c.Version}
	case *ScheduleDestroy:
		return c.Key, []uint64{c.Version}
	case *SkipGate:
		return c.Key, []uint64{c.Version}
	case *SetPolicy:
		return c.Key, nil
	case *WaiveConsumer:
		return c.Key, []uint64{c.Version}
	case *CreateIssuer:
		return c.Key.Name, nil
	case *SetIssuer:
		return c.Issuer, nil
	case *BindCACert:
		return c.Issuer, []uint64{c.Version}
	}
	return "", nil
}
