package command

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func example[T Body](t *testing.T) T {
	t.Helper()
	for _, b := range examples() {
		if c, ok := b.(T); ok {
			return c
		}
	}
	t.Fatal("no example")
	panic("unreachable")
}

// bad changes a fresh example and expects Check to refuse it.
func bad[T Body](t *testing.T, what string, change func(T)) {
	t.Helper()
	c := example[T](t)
	change(c)
	if err := c.Check(); err == nil {
		t.Errorf("%s with %s passes Check", c.Kind(), what)
	}
}

func good[T Body](t *testing.T, what string, change func(T)) {
	t.Helper()
	c := example[T](t)
	change(c)
	if err := c.Check(); err != nil {
		t.Errorf("%s with %s: %v", c.Kind(), what, err)
	}
}

var long = strings.Repeat("x", MaxTextBytes+1)

// TestNamesAreCheckedEverywhere walks the fields of every command: each key name,
// node id, text and version number must be refused when it is malformed. Malformed
// names would end up in refusals, in log leaves and on terminals.
func TestNamesAreCheckedEverywhere(t *testing.T) {
	for _, body := range examples() {
		var walk func(path string, v reflect.Value)
		refuse := func(path string, v, bad reflect.Value) {
			old := reflect.New(v.Type()).Elem()
			old.Set(v)
			v.Set(bad)
			if err := body.Check(); err == nil {
				t.Errorf("%s: %s = %.20q passes Check", body.Kind(), path, bad.Interface())
			}
			v.Set(old)
		}
		walk = func(path string, v reflect.Value) {
			switch v.Kind() {
			case reflect.Struct:
				for f := range v.NumField() {
					walk(path+"."+v.Type().Field(f).Name, v.Field(f))
				}
			case reflect.Slice:
				for n := range v.Len() {
					walk(path, v.Index(n))
				}
			case reflect.String:
				for _, s := range []string{"bad\x1b[2J", "b\xffd", strings.Repeat("x", 1<<17)} {
					refuse(path, v, reflect.ValueOf(s).Convert(v.Type()))
				}
			case reflect.Uint64:
				if strings.HasSuffix(path, ".Version") || strings.HasSuffix(path, "Format") || strings.HasSuffix(path, "MarkIndex") {
					refuse(path, v, reflect.ValueOf(uint64(0)))
				}
			}
		}
		walk("", reflect.ValueOf(body).Elem())
	}
}

func TestHeaderCheck(t *testing.T) {
	for what, change := range map[string]func(*Header){
		"no time":              func(h *Header) { h.At = 0 },
		"time before 1970":     func(h *Header) { h.At = -1 },
		"time past 9999":       func(h *Header) { h.At = MaxInstant + 1 },
		"no actor":             func(h *Header) { h.Actor = "" },
		"control character":    func(h *Header) { h.Actor = "a\nb" },
		"long actor":           func(h *Header) { h.Actor = long },
		"malformed node":       func(h *Header) { h.Node = "n1" },
		"malformed request id": func(h *Header) { h.RequestID = "1" },
		"no request digest":    func(h *Header) { h.RequestDigest = nil },
		"short request digest": func(h *Header) { h.RequestDigest = make([]byte, 31) },
		"too many revisions":   func(h *Header) { h.Reads = make([]RowRef, MaxReads+1) },
		"empty row":            func(h *Header) { h.Reads = []RowRef{{}} },
		"long row":             func(h *Header) { h.Reads = []RowRef{{Table: "keys", Key: long}} },
	} {
		c := exampleCommand(&MarkCheckpoint{})
		change(&c.Header)
		if err := c.Check(); err == nil {
			t.Errorf("a header with %s passes Check", what)
		}
	}
	c := exampleCommand(&MarkCheckpoint{})
	c.Header = Header{At: MaxInstant, Actor: "system"}
	if err := c.Check(); err != nil {
		t.Errorf("the smallest header: %v", err)
	}
}

func TestLists(t *testing.T) {
	bad(t, "no instances", func(c *CreateKey) { c.Instances = nil })
	bad(t, "too many instances", func(c *PlanInstances) { c.Instances = make([]Intent, MaxNodes+1) })
	bad(t, "one node twice", func(c *CreateKey) { c.Instances[1].Node = nodeA })
	bad(t, "one CKA_ID twice", func(c *PrepareVersion) { c.Instances[1].CKAID = ckaA })
	bad(t, "no CKA_ID", func(c *PrepareVersion) { c.Instances[0].CKAID = lifecycle.CKAID{} })
	bad(t, "unsorted labels", func(c *CreateKey) { c.Labels[0], c.Labels[1] = c.Labels[1], c.Labels[0] })
	bad(t, "a label twice", func(c *SetPolicy) { c.Labels[1].Name = c.Labels[0].Name })
	bad(t, "too many labels", func(c *SetPolicy) { c.Labels = make([]lifecycle.Label, MaxLabels+1) })
	bad(t, "versions out of order", func(c *Revoke) { c.Versions = []uint64{2, 1} })
	bad(t, "a version to replace twice", func(c *Replace) { c.Versions = []uint64{1, 1} })
	bad(t, "no instances in place of those revoked", func(c *Replace) { c.Instances = nil })
	bad(t, "a version twice", func(c *Revoke) { c.Versions = []uint64{1, 1} })
	bad(t, "too many readings", func(c *AdvanceClock) { c.Readings = make([]ClockReading, MaxNodes+1) })
	bad(t, "no readings", func(c *AdvanceClock) { c.Readings = nil })
	bad(t, "a reading before 1970", func(c *AdvanceClock) { c.Readings[0].At = -1 })
	bad(t, "a reading past 9999", func(c *AdvanceClock) { c.Readings[0].At = MaxInstant + 1 })
	bad(t, "nobody who agreed", func(c *RecordCheckpoint) { c.Voters = nil })
	bad(t, "too many roles", func(c *AddPrincipal) { c.Principal.Grants = make([]lifecycle.Grant, MaxGrants+1) })
	bad(t, "too many attributes", func(c *BindInstance) { c.Attributes = make([]string, MaxAttributes+1) })
}

func TestCustody(t *testing.T) {
	good(t, "singleton custody", func(c *CreateKey) {
		c.Custody, c.Node, c.Instances = lifecycle.Singleton, nodeA, c.Instances[:1]
	})
	bad(t, "singleton custody and two instances", func(c *CreateKey) { c.Custody, c.Node = lifecycle.Singleton, nodeA })
	bad(t, "singleton custody elsewhere", func(c *CreateKey) {
		c.Custody, c.Node, c.Instances = lifecycle.Singleton, nodeB, c.Instances[:1]
	})
	bad(t, "distributed custody on a node", func(c *CreateKey) { c.Node = nodeA })
	bad(t, "unknown custody", func(c *CreateKey) { c.Custody = "replicated" })
}

func TestBytes(t *testing.T) {
	bad(t, "short root", func(c *RecordCheckpoint) { c.Root = c.Root[1:] })
	bad(t, "short digest", func(c *RecordCheckpoint) { c.Digest = nil })
	bad(t, "short MAC key", func(c *AddJoinToken) { c.MACKey = c.MACKey[1:] })
	bad(t, "long hash", func(c *AddToken) { c.Hash = append(c.Hash, 0) })
	bad(t, "no public key", func(c *BindInstance) { c.SPKI = nil })
	bad(t, "a huge public key", func(c *BindInstance) { c.SPKI = make([]byte, MaxSPKIBytes+1) })
	bad(t, "a kid of 31 bytes", func(c *BindInstance) { c.KID = c.KID[:42] })
	bad(t, "a kid with loose bits", func(c *BindInstance) { c.KID = c.KID[:42] + "F" })
	bad(t, "a kid with padding", func(c *BindInstance) { c.KID += "=" })
	bad(t, "no CA certificate", func(c *JoinNode) { c.Node.CACert = nil })
	bad(t, "a long chain", func(c *BindCACert) { c.Above = make([][]byte, MaxCertsAbove+1) })
	bad(t, "a chain of garbage", func(c *BindCACert) { c.Above = [][]byte{{1}} })
	bad(t, "a huge CA certificate", func(c *JoinNode) { c.Node.CACert = make([]byte, MaxCertBytes+1) })
	bad(t, "a certificate hash in capitals", func(c *AddPrincipal) { c.Principal.Certs[0] = strings.ToUpper(c.Principal.Certs[0]) })
	bad(t, "the reserved name", func(c *AddPrincipal) { c.Principal.Name = "system" })
	bad(t, "no node address", func(c *UpdateNode) { c.Addrs.Node = "" })
	bad(t, "a long gossip address", func(c *UpdateNode) { c.Addrs.Gossip = strings.Repeat("a", MaxAddrBytes+1) })
	good(t, "no gossip address", func(c *UpdateNode) { c.Addrs.Gossip = "" })
	good(t, "no new incarnation", func(c *UpdateNode) { c.Incarnation = "" })
}

func TestFenceChecks(t *testing.T) {
	bad(t, "no fence", func(c *RecordFenced) { c.Fences = nil })
	bad(t, "too many fences", func(c *RecordFenced) { c.Fences = make([]FencedAt, MaxFences+1) })
	bad(t, "an unnamed fence", func(c *RecordFenced) { c.Fences[0].Index = 0 })
	bad(t, "a fence twice", func(c *RecordFenced) { c.Fences[1].Index = c.Fences[0].Index })
	bad(t, "fences out of order", func(c *RecordFenced) { c.Fences[1].Index = 1 })
	bad(t, "a node twice", func(c *RecordFenced) { c.Fences[0].Nodes[1].Node = nodeA })
	bad(t, "too many nodes", func(c *RecordFenced) { c.Fences[0].Nodes = make([]lifecycle.FencedNode, MaxNodes+1) })
	bad(t, "no time", func(c *RecordFenced) { c.Fences[0].Nodes[0].At = 0 })
	bad(t, "a time past 9999", func(c *RecordFenced) { c.Fences[0].Nodes[0].At = MaxInstant + 1 })
	bad(t, "an unknown outcome", func(c *RecordFenced) { c.Fences[0].Nodes[0].Outcome = "asleep" })
	bad(t, "an acknowledgement of nobody", func(c *RecordFenced) { c.Fences[0].Nodes[0].Boot = "" })
	bad(t, "a boot id with a blank", func(c *RecordFenced) { c.Fences[0].Nodes[0].Boot = strings.Repeat("e ", 16) })
	bad(t, "a boot id of a silent node", func(c *RecordFenced) { c.Fences[0].Nodes[1].Boot = strings.Repeat("e5", 16) })
	bad(t, "no fence", func(c *RecordSettled) { c.Indexes = nil })
	bad(t, "fence 0", func(c *RecordSettled) { c.Indexes[0] = 0 })
	bad(t, "a fence twice", func(c *RecordSettled) { c.Indexes[1] = c.Indexes[0] })
	bad(t, "too many fences", func(c *RecordSettled) { c.Indexes = make([]uint64, MaxFences+1) })
}

func TestSignatureChecks(t *testing.T) {
	bad(t, "no request", func(c *RecordSignatures) { c.Groups = nil })
	bad(t, "too many requests", func(c *RecordSignatures) { c.Groups = make([]SignatureGroup, MaxGroups+1) })
	bad(t, "no signature", func(c *RecordSignatures) { c.Groups[0].Items = nil })
	bad(t, "too many signatures", func(c *RecordSignatures) {
		for len(c.Groups[0].Items) <= MaxGroupItems {
			c.Groups[0].Items = append(c.Groups[0].Items, c.Groups[0].Items[0])
		}
	})
	bad(t, "a short hash", func(c *RecordSignatures) { c.Groups[0].Items[1].TBS = filled(1)[1:] })
	bad(t, "no hash of the signature", func(c *RecordSignatures) { c.Groups[0].Items[1].Sig = nil })
	bad(t, "a kid with padding", func(c *RecordSignatures) { c.Groups[0].KID += "=" })
	bad(t, "nobody who asked", func(c *RecordSignatures) { c.Groups[0].Principal = "" })
	good(t, "a caller with a certificate", func(c *RecordSignatures) { c.Groups[0].TokenID = "" })
	good(t, "no request id", func(c *RecordSignatures) { c.Groups[0].RequestID = "" })
}

func TestSealChecks(t *testing.T) {
	good(t, "every key", func(c *ReportSeal) { c.Key = "" })
	good(t, "no reason", func(c *ReportSeal) { c.Reason = "" })
	bad(t, "nobody", func(c *ReportSeal) { c.By = "" })
	bad(t, "no time", func(c *ReportSeal) { c.SealedAt = 0 })
	bad(t, "a time past 9999", func(c *ReportSeal) { c.SealedAt = MaxInstant + 1 })
	bad(t, "an id in capitals", func(c *ReportSeal) { c.ID = "00112233445566AA" })
	bad(t, "a short digest", func(c *RotateGossipKey) { c.Digest = c.Digest[1:] })
	bad(t, "a short id", func(c *LiftSeal) { c.ID = c.ID[1:] })
}

func TestSettingsOfLeases(t *testing.T) {
	for _, c := range []struct {
		lease, age lifecycle.Milliseconds
		ok         bool
	}{
		{0, 0, true}, {1000, 0, true}, {1000, 1000, true}, {60_000, 100, true}, {0, 3000, true}, {60_000, 60_000, true},
		{999, 0, false}, {60_001, 0, false}, {-1, 0, false}, {1000, 1001, false}, {0, 3001, false}, {0, 99, false}, {0, -1, false},
	} {
		set := func(s *SetSettings) { s.Settings.Lease, s.Settings.RequestAge = c.lease, c.age }
		if what := fmt.Sprintf("lease %s and request age %s", c.lease, c.age); c.ok {
			good(t, what, set)
		} else {
			bad(t, what, set)
		}
	}
}

func TestRevokeCheck(t *testing.T) {
	since := func(c *Revoke) { c.CompromisedSince = 1 }
	for _, r := range lifecycle.Reasons {
		plain := func(c *Revoke) { c.Reason, c.Node, c.CompromisedSince, c.Distrust = r, "", 0, false }
		good(t, string(r), plain)
		if !r.IsCompromise() {
			bad(t, string(r)+" and a compromise time", func(c *Revoke) { plain(c); since(c) })
		}
	}
	bad(t, "a replacement on hold", func(c *Replace) { c.Reason, c.CompromisedSince, c.Distrust = lifecycle.CertificateHold, 0, false })
	bad(t, "a replacement, a mild reason and a compromise time", func(c *Replace) { c.Reason = lifecycle.Superseded })
	bad(t, "a compromise before 1970", func(c *Revoke) { c.CompromisedSince = -1 })
	bad(t, "a hold of one instance", func(c *Revoke) { c.Reason, c.CompromisedSince, c.Distrust = lifecycle.CertificateHold, 0, false })
	bad(t, "a hold and distrust", func(c *Revoke) { c.Reason, c.CompromisedSince, c.Node = lifecycle.CertificateHold, 0, "" })
	bad(t, "removeFromCRL", func(c *Revoke) { c.Reason = "removeFromCRL" })
}

func TestVerbChecks(t *testing.T) {
	bad(t, "an early start and no comment", func(c *ActivateVersion) { c.Comment = "" })
	good(t, "no comment", func(c *ActivateVersion) { c.Early, c.Comment = false, "" })
	bad(t, "neither time nor cancellation", func(c *ScheduleDestroy) { c.DestroyAt = 0 })
	bad(t, "time and cancellation", func(c *ScheduleDestroy) { c.Cancel = true })
	bad(t, "a time past 9999", func(c *ScheduleDestroy) { c.DestroyAt = MaxInstant + 1 })
	good(t, "cancellation", func(c *ScheduleDestroy) { c.DestroyAt, c.Cancel = 0, true })
	for _, cond := range append(lifecycle.Conditions, 0, 9) {
		set := func(c *ReportCondition) { c.Condition = cond }
		if cond == lifecycle.Ready || cond == lifecycle.Lost {
			good(t, cond.String(), set)
		} else {
			bad(t, cond.String(), set)
		}
	}
	bad(t, "lost without removal", func(c *SetNodeStatus) { c.Status = lifecycle.Quarantined })
	bad(t, "an unknown status", func(c *SetNodeStatus) { c.Status = "gone" })
	bad(t, "a policy the purpose excludes", func(c *CreateKey) { c.Policy.Inputs = []string{"digest"} })
	bad(t, "no modulus size", func(c *CreateKey) { c.Bits = 0 })
	bad(t, "hourly checkpoints of 99 ms", func(c *SetSettings) { c.Settings.CheckpointEvery = 99 })
	bad(t, "endless tokens", func(c *SetSettings) { c.Settings.MaxTokenTTL = 10*366*lifecycle.Day + 1 })
	for what, edit := range map[string]func(*lifecycle.Webhook){
		"no name": func(w *lifecycle.Webhook) { w.Name = "" }, "no url": func(w *lifecycle.Webhook) { w.URL = "" }, "another scheme": func(w *lifecycle.Webhook) { w.URL = "ftp://x.test" },
		"a url of two words": func(w *lifecycle.Webhook) { w.URL = "https://x.test/a b" }, "an endless url": func(w *lifecycle.Webhook) { w.URL = "https://x.test/" + strings.Repeat("a", 1024) },
		"no kinds": func(w *lifecycle.Webhook) { w.Kinds = nil }, "a kind that is none": func(w *lifecycle.Webhook) { w.Kinds = []string{"key."} },
		"a pattern": func(w *lifecycle.Webhook) { w.Kinds = []string{"key.*"} }, "a kind in capitals": func(w *lifecycle.Webhook) { w.Kinds = []string{"Key"} },
		"a kind twice": func(w *lifecycle.Webhook) { w.Kinds = []string{"key", "key"} }, "an endless kind": func(w *lifecycle.Webhook) { w.Kinds = []string{strings.Repeat("a", 65)} },
		"a bundle of all CAs": func(w *lifecycle.Webhook) { w.CA = strings.Repeat("a", 9<<10) },
	} {
		bad(t, what, func(c *SetSettings) {
			c.Settings.Webhooks = []lifecycle.Webhook{{Name: "chat", URL: "https://x.test", Kinds: []string{"key"}}}
			edit(&c.Settings.Webhooks[0])
		})
	}
	hook := lifecycle.Webhook{Name: "chat", URL: "https://x.test", Kinds: []string{"*", "key.revoked", "proposal.break_glass"}}
	good(t, "a webhook", func(c *SetSettings) { c.Settings.Webhooks = []lifecycle.Webhook{hook} })
	bad(t, "a webhook twice", func(c *SetSettings) { c.Settings.Webhooks = []lifecycle.Webhook{hook, hook} })
	bad(t, "a message bus", func(c *SetSettings) { c.Settings.Webhooks = make([]lifecycle.Webhook, lifecycle.MaxWebhooks+1) })
	bad(t, "nothing delivered", func(c *NoteDelivered) { c.Items = nil })
	bad(t, "delivered to nobody", func(c *NoteDelivered) { c.Items[0].Webhook = "" })
	bad(t, "a reason of two lines", func(c *NoteDelivered) { c.Items[0].Why = "a\nb" })
	bad(t, "too many deliveries", func(c *NoteDelivered) {
		c.Items = slices.Repeat([]Delivered{{Webhook: "chat"}}, lifecycle.MaxWebhooks+1)
	})
	bad(t, "daily confirmations", func(c *SetSettings) { c.Settings.BusinessReasonConfirm = lifecycle.Hour })
}

func TestConsumerChecks(t *testing.T) {
	record := func(edit func(*ConsumerRecord)) (func(*RegisterConsumer), func(*UpdateConsumer)) {
		return func(c *RegisterConsumer) { edit(&c.Consumer) }, func(c *UpdateConsumer) { edit(&c.Consumer) }
	}
	for what, edit := range map[string]func(*ConsumerRecord){
		"no name": func(r *ConsumerRecord) { r.Name = "" }, "a name in capitals": func(r *ConsumerRecord) { r.Name = "Deploy" },
		"the reserved name": func(r *ConsumerRecord) { r.Name = "system" }, "no owner": func(r *ConsumerRecord) { r.Owner = "" },
		"a contact of two lines": func(r *ConsumerRecord) { r.Contact = "a\nb" }, "an unknown class": func(r *ConsumerRecord) { r.Class = "optional" },
		"no instances": func(r *ConsumerRecord) { r.Expect = 0 }, "too many instances": func(r *ConsumerRecord) { r.Expect = lifecycle.MaxExpect + 1 },
		"no keys": func(r *ConsumerRecord) { r.Keys = nil }, "a key twice": func(r *ConsumerRecord) { r.Keys[1] = r.Keys[0] },
		"keys out of order": func(r *ConsumerRecord) { r.Keys[0], r.Keys[1] = r.Keys[1], r.Keys[0] },
		"too many keys":     func(r *ConsumerRecord) { r.Keys = make([]lifecycle.KeyID, lifecycle.MaxConsumerKeys+1) },
		"a pattern":         func(r *ConsumerRecord) { r.Keys = []lifecycle.KeyID{"ci-*"} },
		"no lifetime":       func(r *ConsumerRecord) { r.Lifetime = 0 }, "an endless lifetime": func(r *ConsumerRecord) { r.Lifetime = 400 * lifecycle.Day },
	} {
		register, update := record(edit)
		bad(t, what, register)
		bad(t, what, update)
	}
	bad(t, "a short hash", func(c *RegisterConsumer) { c.Enrolment.Hash = c.Enrolment.Hash[1:] })
	bad(t, "no end of the enrolment", func(c *RegisterConsumer) { c.Enrolment.ExpiresAt = 0 })
	bad(t, "a short hash", func(c *UpdateConsumer) { c.Enrolment.Hash = nil })
	good(t, "no enrolment", func(c *UpdateConsumer) { c.Enrolment = nil })
	good(t, "no comment", func(c *RetireConsumer) { c.Comment = "" })
	bad(t, "no name", func(c *RetireConsumer) { c.Name = "" })
	bad(t, "a short hash", func(c *EnrolConsumer) { c.Spent = c.Spent[1:] })
	bad(t, "a short token hash", func(c *EnrolConsumer) { c.TokenHash = nil })
	bad(t, "no token id", func(c *EnrolConsumer) { c.TokenID = "" })
	bad(t, "version 0", func(c *WaiveConsumer) { c.Version = 0 })
	bad(t, "an unknown gate", func(c *WaiveConsumer) { c.Gate = "publish" })
	bad(t, "no end", func(c *WaiveConsumer) { c.Until = 0 })
	bad(t, "no comment", func(c *WaiveConsumer) { c.Comment = "" })
}

func TestConfirmationChecks(t *testing.T) {
	bad(t, "nothing", func(c *RecordConfirmations) { c.Items = nil })
	bad(t, "too many", func(c *RecordConfirmations) { c.Items = make([]ConfirmationItem, MaxConfirmations+1) })
	bad(t, "a set that is not there", func(c *RecordConfirmations) { c.Items[0].Set = 2 })
	bad(t, "a digest of another kind", func(c *RecordConfirmations) { c.Sets[0].Digest = "sha512:" + strings.Repeat("ee", 32) })
	bad(t, "a digest in capitals", func(c *RecordConfirmations) { c.Sets[0].Digest = "sha256:" + strings.Repeat("EE", 32) })
	bad(t, "kids out of order", func(c *RecordConfirmations) {
		k := c.Sets[0].KIDs
		k[0], k[1] = k[1], k[0]
	})
	bad(t, "a kid twice", func(c *RecordConfirmations) { c.Sets[0].KIDs[1] = c.Sets[0].KIDs[0] })
	bad(t, "a kid that is none", func(c *RecordConfirmations) { c.Sets[0].KIDs[0] = "kid" })
	bad(t, "too many kids", func(c *RecordConfirmations) { c.Sets[0].KIDs = make([]string, MaxKIDs+1) })
	bad(t, "proof of a kid that is not there", func(c *RecordConfirmations) { c.Items[0].Proven[1] = 2 })
	bad(t, "a proof twice", func(c *RecordConfirmations) { c.Items[0].Proven[1] = 0 })
	bad(t, "a fetch with a proof", func(c *RecordConfirmations) { c.Items[0].Weak = true })
	for _, label := range []string{"", "-web", "web 01", "web\n", strings.Repeat("a", 64), "wéb"} {
		bad(t, "the label "+label, func(c *RecordConfirmations) { c.Items[0].Instance = label })
		bad(t, "the label "+label, func(c *LapseConfirmations) { c.Items[0].Instance = label })
	}
	good(t, "a label of an address", func(c *RecordConfirmations) { c.Items[0].Instance = "2001:db8::7" })
	bad(t, "nothing", func(c *LapseConfirmations) { c.Items = nil })
	bad(t, "no key", func(c *LapseConfirmations) { c.Items[0].Key = "" })
}
