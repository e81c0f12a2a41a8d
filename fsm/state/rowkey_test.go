package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestRefsTravel: row keys go into commands as CBOR text, which must be UTF-8. A
// key with the version's number in binary was not, from version 128 on, and no
// node could have decoded the entry.
func TestRefsTravel(t *testing.T) {
	for _, n := range []uint64{1, 127, 128, 255, 1 << 20, 1<<64 - 1} {
		cmd := &command.Command{Header: command.Header{At: 1, Actor: "a", Reads: []command.RowRef{
			state.RefVersion(&lifecycle.Version{Key: ci, Number: n}),
			state.RefInstance(&lifecycle.Instance{Key: ci, Version: n, Node: "aa"}),
		}}, Body: &command.MarkCheckpoint{}}
		b, err := cmd.Encode()
		if err != nil {
			t.Errorf("encode the refs of version %d: %v", n, err)
			continue
		}
		if _, err := command.Decode(b); err != nil {
			t.Errorf("decode the refs of version %d: %v", n, err)
		}
	}
}
