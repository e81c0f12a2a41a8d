package report_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/report"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const ci lifecycle.KeyID = "ci"

type world struct {
	testing.TB
	l     *ledgertest.Ledger
	nodes []lifecycle.NodeID
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, l: ledgertest.New(t)}
	w.nodes = ledgertest.Genesis(t, w.l, "alpha")
	w.key(ci, func(*command.CreateKey) {})
	return w
}

func kid(name lifecycle.KeyID) string { return strings.Repeat("0", 42-len(name)) + string(name) + "A" }

// key makes one whose first version signs.
func (w *world) key(name lifecycle.KeyID, change func(*command.CreateKey)) {
	w.Helper()
	c := &command.CreateKey{Name: name, Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform", Reason: "tests",
		ConfirmBy: w.l.Clock().At().Add(365 * lifecycle.Day), Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256),
		Instances: []command.Intent{{Node: w.nodes[0], CKAID: ledgertest.CKAID(string(name))}}}
	c.Policy.AllowedCallers = []string{"build-*"}
	change(c)
	w.l.Must(w, c)
	w.l.Must(w, &command.BindInstance{Key: name, Version: 1, Node: w.nodes[0], CKAID: c.Instances[0].CKAID, SPKI: []byte{0x30, byte(len(name))}, KID: kid(name), Driver: "soft",
		Attributes: []string{"CKA_EXTRACTABLE=false"}})
	w.l.Must(w, &command.ActivateVersion{Key: name, Version: 1})
}

func (w *world) pass(d lifecycle.Milliseconds) {
	w.Helper()
	for ; d > lifecycle.Day; d -= lifecycle.Day {
		w.l.Pass(w, 24*60*60*1e9)
	}
	w.l.Must(w, &command.MarkCheckpoint{})
}

// used has the node report that it has just signed with the key.
func (w *world) used(name lifecycle.KeyID) {
	w.Helper()
	at := w.l.Clock().At()
	w.l.Must(w, &command.ReportTally{Node: w.nodes[0], Seq: uint64(at), Hash: make([]byte, 32), At: at, Items: []command.TallyItem{{Key: name, Version: 1, KID: kid(name), Released: 5, LastAt: at}}})
}

func (w *world) of(name lifecycle.KeyID) (found report.KeyReport) {
	w.Helper()
	report.Keys(w.l.View(), w.l.View().Clock(), name, func(r *report.KeyReport) bool {
		found = *r
		return false
	})
	if found.Key == nil || found.Key.ID != name {
		w.Fatalf("%s is not in the report", name)
	}
	return found
}

func (w *world) want(name lifecycle.KeyID, codes ...report.Code) {
	w.Helper()
	var got []report.Code
	for _, f := range w.of(name).Findings {
		got = append(got, f.Code)
		if f.Message == "" || f.Hint == "" || len(f.Controls) == 0 || f.Severity == "" {
			w.Errorf("%s says too little: %+v", f.Code, f)
		}
	}
	slices.Sort(got)
	slices.Sort(codes)
	if fmt.Sprint(got) != fmt.Sprint(codes) {
		w.Errorf("%s: found %v, want %v", name, got, codes)
	}
}

func TestRotationReport(t *testing.T) {
	w := newWorld(t)
	w.want(ci)
	w.key("by-hand", func(c *command.CreateKey) { c.Policy.RotateEvery = 0 })
	w.want("by-hand", report.NoRotationPeriod)
	w.l.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "leaver", Kind: lifecycle.Person}})
	w.key("orphan", func(c *command.CreateKey) { c.Owner = "leaver" })
	w.want("orphan")
	w.l.Must(t, &command.RevokePrincipal{Name: "leaver"})
	w.want("orphan", report.NoOwner)
	w.l.Must(t, &command.PauseRotation{Key: ci, Reason: "a verifier is down"})
	w.want(ci, report.RotationPaused)
	w.l.Must(t, &command.ResumeRotation{Key: ci})

	w.pass(92 * lifecycle.Day)
	w.want(ci, report.RotationOverdue, report.Unused)
	w.used(ci)
	w.want(ci, report.RotationOverdue)
	if r := w.of(ci); r.Released != 5 || r.LastUsedAt == 0 || r.DueAt == 0 || r.ActivatedAt == 0 {
		t.Errorf("%+v", r)
	}
	w.pass(280 * lifecycle.Day)
	w.want(ci, report.RotationOverdue, report.Unused, report.PurposeExpired, report.NeverRotated)
	w.l.Must(t, &command.ConfirmPurpose{Key: ci, Reason: "still", ConfirmBy: w.l.Clock().At().Add(lifecycle.Day)})
	w.used(ci)
	w.want(ci, report.RotationOverdue, report.NeverRotated)

	w.l.Must(t, &command.Revoke{Key: "orphan", Versions: []uint64{1}, Reason: lifecycle.CessationOfOperation})
	if r := w.of("orphan"); !r.Ended || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
	total := report.Total(w.l.View(), w.l.View().Clock())
	if total.Keys != 2 || total.Ended != 1 || total.WithinPolicy != 0 || total.ByCode[report.RotationOverdue] != 1 || total.ShareWithinPolicy() != 0 {
		t.Errorf("%+v", total)
	}
	w.key("young", func(*command.CreateKey) {})
	if total = report.Total(w.l.View(), w.l.View().Clock()); total.Keys != 3 || total.WithinPolicy != 1 || total.ShareWithinPolicy() != 333 {
		t.Errorf("%+v", total)
	}
}

func TestRotationThatWaits(t *testing.T) {
	w := newWorld(t)
	w.l.Must(t, &command.RegisterConsumer{Consumer: command.ConsumerRecord{Name: "deploy-eu", Owner: "deploy", Contact: "deploy@example.com", Class: lifecycle.Required, Expect: 2,
		Keys: []lifecycle.KeyID{ci}, Lifetime: lifecycle.Day}, Enrolment: command.Enrolment{Hash: make([]byte, 32), ExpiresAt: w.l.Clock().At().Add(lifecycle.Hour)}})
	w.l.Must(t, &command.PrepareVersion{Key: ci, Version: 2, Instances: []command.Intent{{Node: w.nodes[0], CKAID: ledgertest.CKAID("ci2")}}})
	w.l.Must(t, &command.BindInstance{Key: ci, Version: 2, Node: w.nodes[0], CKAID: ledgertest.CKAID("ci2"), SPKI: []byte{0x30, 9}, KID: kid("ci2"), Driver: "soft"})
	w.l.Must(t, &command.PublishVersion{Key: ci, Version: 2})
	w.pass(2 * lifecycle.Day)
	w.want(ci, report.RotationWaits)

	list := report.Dependents(w.l.View(), w.l.View().Key(ci), w.l.View().Clock())
	if len(list) != 1 || list[0].Kind != report.DependentConsumer || list[0].Name != "deploy-eu" || list[0].Contact == "" || list[0].Expect != 2 || list[0].Have != 0 ||
		len(list[0].Findings) != 1 || list[0].Findings[0].Code != report.ConfirmationLapsed || !strings.Contains(list[0].Findings[0].Message, "never") {
		t.Errorf("%+v", list)
	}
}

func TestCallersAreDependents(t *testing.T) {
	w := newWorld(t)
	w.key("open", func(c *command.CreateKey) { c.Policy.AllowedCallers = nil })
	signer := func(name string, kind lifecycle.PrincipalKind, keys string) {
		w.l.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: kind, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: keys}}}})
	}
	signer("build-1", lifecycle.Service, "*")
	signer("build-2", lifecycle.Person, "ci")
	signer("other", lifecycle.Service, "ci")
	names := func(key lifecycle.KeyID) string {
		var out []string
		for _, d := range report.Dependents(w.l.View(), w.l.View().Key(key), w.l.View().Clock()) {
			for _, f := range d.Findings {
				d.Name += " " + string(f.Code)
			}
			out = append(out, d.Name)
		}
		return strings.Join(out, ", ")
	}
	if got := names(ci); got != "build-1, build-2 human_caller" {
		t.Errorf("%s", got)
	}
	if got := names("open"); got != "build-1 any_caller" {
		t.Errorf("%s", got)
	}
}

func TestInstanceFindings(t *testing.T) {
	active := &lifecycle.Version{Number: 1, State: lifecycle.Active}
	for want, i := range map[report.Code]*lifecycle.Instance{
		"":                       {Condition: lifecycle.Ready, Attributes: []string{"CKA_EXTRACTABLE=false"}},
		report.Extractable:       {Condition: lifecycle.Ready, Attributes: []string{"CKA_EXTRACTABLE=true"}},
		report.AttributesUnknown: {Condition: lifecycle.Ready},
		report.InstanceLost:      {Condition: lifecycle.Lost, Attributes: []string{"CKA_EXTRACTABLE=false"}},
	} {
		got := report.Code("")
		if f := report.Instance(active, i); len(f) == 1 {
			got = f[0].Code
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", i, got, want)
		}
	}
	if f := report.Instance(&lifecycle.Version{State: lifecycle.Destroyed}, &lifecycle.Instance{Condition: lifecycle.Erased}); len(f) != 0 {
		t.Errorf("%+v", f)
	}
}

// TestKindsAreComplete: every code has a meaning and a control, once.
func TestKindsAreComplete(t *testing.T) {
	seen := map[report.Code]bool{}
	for _, k := range report.Kinds {
		if seen[k.Code] || k.Meaning == "" || k.About == "" || len(k.Controls) == 0 {
			t.Errorf("%+v", k)
		}
		seen[k.Code] = true
		for _, c := range k.Controls {
			if !strings.HasPrefix(c, "OWASP NHI Top 10: NHI") && !strings.HasPrefix(c, "NIST ") {
				t.Errorf("%s: %q names no control", k.Code, c)
			}
		}
	}
}
