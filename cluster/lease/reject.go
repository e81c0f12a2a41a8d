package lease

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

// ErrRejected is wrapped by the error of every message that was not accepted. Such a
// message has changed nothing.
var ErrRejected = errors.New("the message is not accepted")

// Reasons for which messages are rejected; they are labels of a metric.
const (
	Malformed    = "malformed"     // a field is missing or out of its limits
	WrongSender  = "wrong_sender"  // it speaks in another node's name
	OtherCluster = "other_cluster" //
	OtherEpoch   = "other_epoch"   // before or after a restore
	OtherNode    = "other_node"    // the grant is for somebody else
	OtherBoot    = "other_boot"    // the grant is for an earlier process of this node
	OlderTerm    = "older_term"    // its sender was deposed, as far as is known here
	NotAsked     = "not_asked"     // it answers no question of ours: forged, or replayed with changes
	SecondAnswer = "second_answer" // the question has been answered: a duplicate or a replay
	TooLate      = "too_late"      // it answers a question that was given up: delayed or reordered
	Clocks       = "clocks"        // our clocks disagree on how old the question is
)

// tally counts rejected messages by reason.
type tally struct {
	mu sync.Mutex
	by map[string]uint64
}

// reject counts and returns the error.
func (t *tally) reject(reason, format string, args ...any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]uint64{}
	}
	t.by[reason]++
	return fmt.Errorf("%w (%s): %s", ErrRejected, reason, fmt.Sprintf(format, args...))
}

// Rejected is how many messages were rejected so far, by reason.
func (t *tally) Rejected() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.by)
}
