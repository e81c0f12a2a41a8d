package integration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// The model is what one key does, written a second time and as simply as possible:
// from DESIGN.md and lifecycle's table, not from the code of fsm/state.

// keyOp is what a caller asked of a key.
type keyOp struct {
	key     string
	verb    string // create, rotate, activate, suspend, resume, deactivate, revoke, replace, read, sign (with a strict key)
	version uint64 // 0 = the whole key
	reason  lifecycle.Reason
}

// keyAnswer is what came back.
type keyAnswer struct {
	unknown bool      // nobody knows whether it happened
	code    wire.Code // "" = accepted
	version uint64    // rotate, replace: the number of the new version
	states  string    // read: see keyState.seen
}

// keyVersion is one version of the model.
type keyVersion struct {
	state, from lifecycle.State
	everActive  bool
	emergency   bool // made by replace
}

// keyState is a key, encoded as a string so that states can be compared: "" = there
// is no such key, else three bytes a version.
type keyState string

func (s keyState) versions() []keyVersion {
	out := make([]keyVersion, 0, len(s)/3)
	for i := 0; i+2 < len(s); i += 3 {
		out = append(out, keyVersion{lifecycle.State(s[i]), lifecycle.State(s[i+1]), s[i+2]&1 != 0, s[i+2]&2 != 0})
	}
	return out
}

// encodeKey writes only what can still matter: that a version was active, while an older
// one may yet be activated; that an emergency made it, while it may be activated itself.
// Else a key that was replaced n times without a look at it would be in 2^n states.
func encodeKey(vs []keyVersion) keyState {
	b, open := make([]byte, 0, 3*len(vs)), false
	for _, v := range vs {
		marks := byte(0)
		if v.everActive && open {
			marks |= 1
		}
		if v.unused() {
			open = true
			if v.emergency {
				marks |= 2
			}
		}
		b = append(b, byte(v.state), byte(v.from), marks)
	}
	return keyState(b)
}

// unused says that a version waits to be activated, if only after a hold.
func (v keyVersion) unused() bool {
	return v.state == lifecycle.PreActivation || v.state == lifecycle.Suspended && v.from == lifecycle.PreActivation
}

// seen is the state as `key show` tells it: "1:active 2:pre-activation".
func (s keyState) seen() string {
	var out []string
	for i, v := range s.versions() {
		out = append(out, fmt.Sprintf("%d:%s", i+1, v.state))
	}
	return strings.Join(out, " ")
}

// keyModel is the specification of all keys, checked one by one.
var keyModel = (&porcupine.NondeterministicModel{
	Partition: partitionByKey,
	Init:      func() []any { return []any{keyState("")} },
	Step: func(state, input, output any) []any {
		var out []any
		for _, s := range settle(state.(keyState)) {
			out = append(out, step(s, input.(keyOp), output.(keyAnswer))...)
		}
		return out
	},
	DescribeOperation: func(input, output any) string {
		op, a := input.(keyOp), output.(keyAnswer)
		what := fmt.Sprintf("%s %s", op.verb, op.key)
		if op.version != 0 {
			what += fmt.Sprintf("/%d", op.version)
		}
		if op.reason != "" {
			what += " for " + string(op.reason)
		}
		switch {
		case a.unknown:
			return what + " = ?"
		case a.code != "":
			return what + " = " + string(a.code)
		case op.verb == "read":
			return what + " = " + a.states
		}
		return what + " = ok"
	},
	DescribeState: func(state any) string { return state.(keyState).seen() },
}).ToModel()

func partitionByKey(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, o := range history {
		k := o.Input.(keyOp).key
		parts[k] = append(parts[k], o)
	}
	var out [][]porcupine.Operation
	for _, p := range parts {
		out = append(out, p)
	}
	return out
}

// settle adds what the cluster does by itself at any moment: the first version of a
// key becomes active when its instances are ready, and one that an emergency made with
// its first instance. (Other versions wait for a lead that is longer than the test, and
// publication shows in no state.)
func settle(s keyState) []keyState {
	out, vs := []keyState{s}, s.versions()
	for i, v := range vs {
		if n := uint64(i + 1); v.state == lifecycle.PreActivation && (n == 1 || v.emergency) && !overtaken(vs, n) {
			out = append(out, activate(vs, n))
		}
	}
	return out
}

func overtaken(vs []keyVersion, n uint64) bool {
	for _, v := range vs[n:] {
		if v.everActive {
			return true
		}
	}
	return false
}

// activate makes version n the one that signs, and retires the others.
func activate(old []keyVersion, n uint64) keyState {
	vs := slices.Clone(old)
	for i := range vs {
		switch {
		case uint64(i+1) == n:
			vs[i] = keyVersion{state: lifecycle.Active, everActive: true, emergency: vs[i].emergency}
		case vs[i].state == lifecycle.Active:
			vs[i].state = lifecycle.Deactivated
		case vs[i].state == lifecycle.Suspended && vs[i].from == lifecycle.Active:
			vs[i].from = lifecycle.Deactivated
		}
	}
	return encodeKey(vs)
}

// step lists the states in which the key may be after the operation, none when it
// cannot have been answered like that.
func step(s keyState, op keyOp, a keyAnswer) []any {
	if op.verb == "read" {
		if s == "" && a.code == wire.KeyNotFound || s != "" && a.code == "" && s.seen() == a.states {
			return []any{s}
		}
		return nil
	}
	if op.verb == "sign" { // one that was refused says nothing: it may be for want of a lease
		if vs := s.versions(); op.version <= uint64(len(vs)) && vs[op.version-1].state == lifecycle.Active {
			return []any{s}
		}
		return nil
	}
	after, refusal := apply(s, op)
	switch {
	case a.unknown && refusal == "":
		return []any{s, after}
	case a.unknown:
		return []any{s}
	case a.code == "":
		if refusal != "" || (op.verb == "rotate" || op.verb == "replace") && a.version != uint64(len(after.versions())) {
			return nil
		}
		return []any{after}
	case a.code == refusal,
		a.code == wire.Conflict, // somebody else was faster, three times
		a.code == wire.NotReady && op.verb == "activate" && refusal == "":
		return []any{s}
	}
	return nil
}

// apply carries an operation out, or says why it is refused.
func apply(s keyState, op keyOp) (after keyState, refusal wire.Code) {
	vs := s.versions()
	switch {
	case op.verb == "create" && s != "":
		return s, wire.AlreadyExists
	case op.verb == "create":
		return encodeKey([]keyVersion{{state: lifecycle.PreActivation}}), ""
	case s == "":
		return s, wire.KeyNotFound
	case op.verb == "rotate":
		for _, v := range vs {
			if v.state == lifecycle.PreActivation {
				return s, wire.RotationOpen
			}
		}
		return encodeKey(append(vs, keyVersion{state: lifecycle.PreActivation})), ""
	case op.version == 0 && op.verb == "revoke":
		return revokeAll(vs, op.reason)
	case op.version == 0 || op.version > uint64(len(vs)):
		return s, wire.VersionNotFound
	}
	if op.verb == "replace" {
		return replace(vs, op)
	}
	v := &vs[op.version-1]
	verb := verbs[op.verb]
	if op.verb == "revoke" {
		verb = op.reason.Verb()
	}
	next, ok := lifecycle.Next(v.state, verb, v.from)
	switch {
	case !ok, verb == lifecycle.Activate && overtaken(vs, op.version),
		verb == lifecycle.Resume && next == lifecycle.Active && slices.ContainsFunc(vs, func(v keyVersion) bool { return v.state == lifecycle.Active }):
		return s, wire.IllegalTransition
	case verb == lifecycle.Activate:
		return activate(vs, op.version), ""
	}
	v.move(next)
	return encodeKey(vs), ""
}

var verbs = map[string]lifecycle.Verb{"activate": lifecycle.Activate, "suspend": lifecycle.Suspend, "resume": lifecycle.Resume, "deactivate": lifecycle.Deactivate}

func (v *keyVersion) move(next lifecycle.State) {
	from := v.state
	*v = keyVersion{state: next, everActive: v.everActive, emergency: v.emergency}
	if next == lifecycle.Suspended {
		v.from = from
	}
}

// replace ends one version, and all that never signed, and makes the next one.
func replace(vs []keyVersion, op keyOp) (keyState, wire.Code) {
	before := encodeKey(vs)
	for i := range vs {
		v, named := &vs[i], uint64(i+1) == op.version
		next, ok := lifecycle.Next(v.state, op.reason.Verb(), v.from)
		switch {
		case v.state == lifecycle.Active && !named, named && !ok:
			return before, wire.IllegalTransition
		case ok && (named || v.unused()):
			v.move(next)
		case v.state == lifecycle.Suspended: // it comes back as one that has had its time
			v.from = lifecycle.Deactivated
		}
	}
	return encodeKey(append(vs, keyVersion{state: lifecycle.PreActivation, emergency: true})), ""
}

func revokeAll(vs []keyVersion, reason lifecycle.Reason) (keyState, wire.Code) {
	done := false
	for i := range vs {
		if vs[i].state.Terminal() {
			continue
		}
		if next, ok := lifecycle.Next(vs[i].state, reason.Verb(), vs[i].from); ok {
			vs[i].move(next)
			done = true
		}
	}
	if !done {
		return encodeKey(vs), wire.IllegalTransition
	}
	return encodeKey(vs), ""
}
