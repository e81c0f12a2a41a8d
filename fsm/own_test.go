package fsm

import (
	"bytes"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
)

// TestOwnIsFoundByAllOfItsBytes: one changed bit anywhere in an entry, and it is
// decoded, and found corrupt, like anybody else's.
func TestOwnIsFoundByAllOfItsBytes(t *testing.T) {
	f := &FSM{}
	cmd := &command.Command{Header: command.Header{At: 1, Actor: "system"}, Body: &command.AdvanceClock{}}
	entry, done, err := f.Propose(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entry {
		bad := bytes.Clone(entry)
		bad[i] ^= 1 << (i % 8)
		if f.own.take(bad) != nil {
			t.Fatalf("found with byte %d changed", i)
		}
	}
	got := f.own.take(entry)
	if got == nil || got == cmd || got.Body == cmd.Body || got.Digest != cmd.Digest || got.Header.Actor != cmd.Header.Actor {
		t.Fatalf("took %+v", got)
	}
	if f.own.take(entry) != nil {
		t.Error("handed out twice")
	}
	done()
	if _, done, err = f.Propose(cmd); err != nil {
		t.Fatal(err)
	}
	done()
	if len(f.own.by) != 0 {
		t.Error("an answered proposal stays in memory")
	}
}
