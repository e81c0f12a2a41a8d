package command

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// PauseRotation holds a key's plan: nothing is prepared, published, activated or
// withdrawn until it is resumed. What destruction and emergencies do goes on.
type PauseRotation struct {
	Key    lifecycle.KeyID `cbor:"1,keyasint"`
	Reason string          `cbor:"2,keyasint"`
}

func (*PauseRotation) Kind() Kind { return KindPauseRotation }

func (c *PauseRotation) Check() error {
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	return text("reason", c.Reason, true)
}

// ResumeRotation lets a key's plan go on.
type ResumeRotation struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Comment string          `cbor:"2,keyasint,omitempty"`
}

func (*ResumeRotation) Kind() Kind { return KindResumeRotation }

func (c *ResumeRotation) Check() error {
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	return text("comment", c.Comment, false)
}

// SkipGate opens a gate that a version waits at, with Comment saying why: the plan goes
// on without the rest of the lead or window, and without whoever has not confirmed.
type SkipGate struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Gate    lifecycle.Gate  `cbor:"3,keyasint"`
	Comment string          `cbor:"4,keyasint"`
}

func (*SkipGate) Kind() Kind { return KindSkipGate }

func (c *SkipGate) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	if _, err := lifecycle.ParseGate(string(c.Gate)); err != nil {
		return err
	}
	return text("comment", c.Comment, true)
}

// RollBack gives a version up that has not signed yet: it leaves the trust set and never
// signs. Where the plan would make the next one at once, it is paused.
type RollBack struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint"`
}

func (*RollBack) Kind() Kind { return KindRollBack }

func (c *RollBack) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, true)
}

// NoteWaiting makes known that a rotation waits for somebody, and no longer for time
// alone. The cluster says it, once for each version and step.
type NoteWaiting struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	For     string          `cbor:"3,keyasint"` // who, as people read it
}

func (*NoteWaiting) Kind() Kind { return KindNoteWaiting }

func (c *NoteWaiting) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("for", c.For, true)
}
