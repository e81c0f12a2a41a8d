package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Rotation is how far the versions of a key have come: the one that matters now, and
// those on their way out.
type Rotation struct {
	Step
	Paused      bool   `json:"paused"`
	PausedAt    Time   `json:"paused_at,omitzero"`
	PausedBy    Text   `json:"paused_by,omitzero"`
	PauseReason Text   `json:"pause_reason,omitzero"`
	Retiring    []Step `json:"retiring"` // oldest first
}

// Step is where one version stands, and what comes next.
type Step struct {
	Phase      string    `json:"phase"` // prepared, published, idle, suspended, ended; of a retiring version: deactivated, withdrawn, destroying, erasing
	Version    uint64    `json:"version"`
	Next       string    `json:"next"` // publish, activate or prepare; withdraw, destroy or erase; "" = nothing by itself
	EarliestAt Time      `json:"earliest_at"`
	WaitsFor   []Blocker `json:"waits_for"`
}

// Blocker is something that must happen before a rotation goes on.
type Blocker struct {
	Kind   string `json:"kind"` // instance, certificate, node, lead, window, consumer, operator
	Name   string `json:"name"`
	Owner  string `json:"owner,omitempty"`
	Since  Time   `json:"since"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// KeyRotation is what `rotation show` answers, and a row of `rotation list`.
type KeyRotation struct {
	Key           string   `json:"key"`
	Owner         string   `json:"owner"`
	ActiveVersion uint64   `json:"active_version"` // 0 = none
	Overdue       bool     `json:"overdue"`
	Rotation      Rotation `json:"rotation"`
	Position      Position `json:"position,omitzero"` // of an answer about one key; a list has its own
	AsOf          Time     `json:"as_of,omitzero"`
}

// Selections of `rotation list`.
const (
	RotationsGoing   = ""        // under way, paused, or with versions on their way out
	RotationsWaiting = "waiting" // for somebody, not for time alone
	RotationsPaused  = "paused"
	RotationsAll     = "all"
)

// PauseRotation holds the plan of a key.
type PauseRotation struct {
	Reason string `json:"reason"`
}

// ResumeRotation lets the plan of a key go on.
type ResumeRotation struct {
	Comment string `json:"comment,omitempty"`
}

// SkipGate opens a gate before its time. Version 0 and gate "" mean the only ones they
// can mean.
type SkipGate struct {
	Version uint64         `json:"version,omitempty"`
	Gate    lifecycle.Gate `json:"gate,omitempty"`
	Comment string         `json:"comment"`
}

// RollBack gives a version up that has not signed yet.
type RollBack struct {
	Version uint64 `json:"version,omitempty"`
	Comment string `json:"comment"`
}
