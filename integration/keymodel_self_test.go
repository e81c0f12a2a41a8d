package integration

import (
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestKeyModel shows that the model can fail: each bad history is a way in which a
// cluster may lie, and has a good twin.
func TestKeyModel(t *testing.T) {
	op := func(call, back int64, in keyOp, out keyAnswer) porcupine.Operation {
		in.key = "k"
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: back}
	}
	ok := keyAnswer{}
	create := op(0, 1, keyOp{verb: "create"}, ok)
	read := func(call int64, states string) porcupine.Operation {
		return op(call, call+1, keyOp{verb: "read"}, keyAnswer{states: states})
	}
	revoke := keyOp{verb: "revoke", reason: lifecycle.KeyCompromise}
	replace := keyOp{verb: "replace", version: 1, reason: lifecycle.KeyCompromise}
	two := keyAnswer{version: 2}
	suspend := keyOp{verb: "suspend", version: 1}
	sign := func(call, back int64, version uint64) porcupine.Operation {
		return op(call, back, keyOp{verb: "sign", version: version}, ok)
	}
	for name, c := range map[string]struct {
		good bool
		ops  []porcupine.Operation
	}{
		"created, seen active":          {true, []porcupine.Operation{create, read(2, "1:active")}},
		"created, seen before":          {true, []porcupine.Operation{create, read(2, "1:pre-activation"), read(4, "1:active")}},
		"acknowledged create lost":      {false, []porcupine.Operation{create, op(2, 3, keyOp{verb: "read"}, keyAnswer{code: wire.KeyNotFound})}},
		"state went back":               {false, []porcupine.Operation{create, read(2, "1:active"), read(4, "1:pre-activation")}},
		"revocation seen":               {true, []porcupine.Operation{create, op(2, 3, revoke, ok), read(4, "1:compromised")}},
		"acknowledged revocation lost":  {false, []porcupine.Operation{create, op(2, 3, revoke, ok), read(4, "1:active")}},
		"read beside the revocation":    {true, []porcupine.Operation{create, op(2, 9, revoke, ok), read(4, "1:active"), read(6, "1:compromised")}},
		"unknown revocation happened":   {true, []porcupine.Operation{create, op(2, 99, revoke, keyAnswer{unknown: true}), read(4, "1:compromised")}},
		"unknown revocation did not":    {true, []porcupine.Operation{create, op(2, 99, revoke, keyAnswer{unknown: true}), read(4, "1:active")}},
		"unknown revocation undone":     {false, []porcupine.Operation{create, op(2, 99, revoke, keyAnswer{unknown: true}), read(4, "1:compromised"), read(6, "1:active")}},
		"resumed into signing":          {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "suspend", version: 1}, ok), op(6, 7, keyOp{verb: "resume", version: 1}, ok), read(8, "1:active")}},
		"refused though it was legal":   {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "suspend", version: 1}, keyAnswer{code: wire.IllegalTransition})}},
		"accepted though it was not":    {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "activate", version: 1}, ok)}},
		"two versions active":           {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "rotate"}, keyAnswer{version: 2}), op(6, 7, keyOp{verb: "activate", version: 2}, ok), read(8, "1:active 2:active")}},
		"successor took over":           {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "rotate"}, keyAnswer{version: 2}), op(6, 7, keyOp{verb: "activate", version: 2}, ok), read(8, "1:deactivated 2:active")}},
		"two rotations got one number":  {false, []porcupine.Operation{create, op(2, 3, keyOp{verb: "rotate"}, keyAnswer{version: 2}), op(4, 5, keyOp{verb: "rotate"}, keyAnswer{version: 2})}},
		"suspended successor came back": {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "suspend", version: 1}, ok), op(6, 7, keyOp{verb: "rotate"}, keyAnswer{version: 2}), op(8, 9, keyOp{verb: "activate", version: 2}, ok), op(10, 11, keyOp{verb: "resume", version: 1}, ok), read(12, "1:active 2:active")}},
		"replaced, and used by itself":  {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, replace, two), read(6, "1:compromised 2:pre-activation"), read(8, "1:compromised 2:active")}},
		"replaced, and old one in use":  {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, replace, two), read(6, "1:active 2:pre-activation")}},
		"replaced by one already there": {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "rotate"}, two), op(6, 7, replace, two)}},
		"replaced what had ended":       {true, []porcupine.Operation{create, op(2, 3, revoke, ok), op(4, 5, replace, two), read(6, "1:compromised 2:active")}},
		"replaced another than signs":   {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, replace, two), read(6, "1:compromised 2:active"), op(8, 9, replace, keyAnswer{version: 3})}},
		"what waited goes too":          {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, keyOp{verb: "rotate"}, two), op(6, 7, replace, keyAnswer{version: 3}), read(8, "1:compromised 2:compromised 3:active")}},
		"signed while active":           {true, []porcupine.Operation{create, sign(2, 3, 1)}},
		"signed beside the suspension":  {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 9, suspend, ok), sign(5, 6, 1)}},
		"signed after the suspension":   {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, suspend, ok), sign(6, 7, 1)}},
		"signed after it was seen":      {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 19, suspend, ok), read(6, "1:suspended"), sign(8, 9, 1)}},
		"signed when it was resumed":    {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, suspend, ok), op(6, 9, keyOp{verb: "resume", version: 1}, ok), sign(7, 8, 1)}},
		"signed by the old version":     {false, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, replace, two), sign(6, 7, 1)}},
		"signed by the new version":     {true, []porcupine.Operation{create, read(2, "1:active"), op(4, 5, replace, two), sign(6, 7, 2)}},
	} {
		t.Run(name, func(t *testing.T) {
			want := porcupine.Illegal
			if c.good {
				want = porcupine.Ok
			}
			got, info := porcupine.CheckOperationsVerbose(keyModel, c.ops, 10*time.Second)
			if got != want {
				t.Errorf("the history is %s, want %s", got, want)
			}
			if err := porcupine.Visualize(keyModel, info, io.Discard); err != nil {
				t.Errorf("draw the history: %v", err)
			}
		})
	}
}

// TestKeyModelStaysSmall: a key that is replaced again and again, and that nobody looks at,
// must not come to more states with each time, or its history cannot be judged.
func TestKeyModelStaysSmall(t *testing.T) {
	states := []any{keyState("")}
	take := func(in keyOp, out keyAnswer) {
		t.Helper()
		next := map[any]bool{}
		for _, s := range states {
			for _, settled := range settle(s.(keyState)) {
				for _, after := range step(settled, in, out) {
					next[after] = true
				}
			}
		}
		states = slices.Collect(maps.Keys(next))
		if len(states) == 0 || len(states) > 2 {
			t.Fatalf("after %s of version %d: %d states", in.verb, in.version, len(states))
		}
	}
	take(keyOp{verb: "create"}, keyAnswer{})
	for v := range uint64(20) {
		take(keyOp{verb: "suspend", version: v + 1}, keyAnswer{})
		take(keyOp{verb: "resume", version: v + 1}, keyAnswer{})
		take(keyOp{verb: "replace", version: v + 1, reason: lifecycle.KeyCompromise}, keyAnswer{version: v + 2})
	}
}
