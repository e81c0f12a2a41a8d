package fsm

import (
	"crypto/sha256"
	"sync"

	"github.com/chancery-project/chancery/fsm/command"
)

// own remembers how the entries that this node is proposing decode: Encode has read
// each back already, and on a leader decoding it again would be the larger part of
// taking it in.
//
// It cannot hide damage. An entry is looked up by the SHA-256 over all its bytes, as
// Raft hands them out, so what is found is what those very bytes decode to. Each is
// handed out once.
type own struct {
	mu sync.Mutex
	by map[[sha256.Size]byte]*command.Command
}

// Propose encodes a command for Raft. Call done when Raft has answered.
func (f *FSM) Propose(cmd *command.Command) (entry []byte, done func(), err error) {
	entry, twin, err := cmd.EncodeTwin()
	if err != nil {
		return nil, nil, err
	}
	digest := twin.Digest // the twin may be gone by the time of done
	f.own.mu.Lock()
	defer f.own.mu.Unlock()
	if f.own.by == nil {
		f.own.by = map[[sha256.Size]byte]*command.Command{}
	}
	f.own.by[digest] = twin
	return entry, func() { f.own.forget(digest) }, nil
}

// take finds an entry and forgets it.
func (o *own) take(entry []byte) *command.Command {
	o.mu.Lock()
	empty := len(o.by) == 0
	o.mu.Unlock()
	if empty { // a follower
		return nil
	}
	digest := sha256.Sum256(entry)
	o.mu.Lock()
	defer o.mu.Unlock()
	cmd := o.by[digest]
	delete(o.by, digest)
	return cmd
}

func (o *own) forget(digest [sha256.Size]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.by, digest)
}
