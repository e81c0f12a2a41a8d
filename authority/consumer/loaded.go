package consumer

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// loadedSets remembers the digests of sets of kids: the instances of a consumer all
// load the same few, and each says so. A kid is a hash of its public key, and a key once
// made keeps its kids, so what was right stays right; Apply looks at the kids again.
type loadedSets struct {
	mu    sync.Mutex // owns what follows
	known map[[sha256.Size]byte]*command.LoadedSet
}

// maxLoadedSets bounds the memory: at most some MiB, of sets with 256 kids each.
const maxLoadedSets = 256

// of is the set of exactly these kids of a key, in their order. It is shared: nobody
// writes to it.
func (l *loadedSets) of(v *state.View, key lifecycle.KeyID, kids []string) (*command.LoadedSet, error) {
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, v.Position().Epoch)) // a hash takes everything
	for _, s := range append([]string{string(key)}, kids...) {
		_, _ = h.Write(append([]byte(s), 0)) // likewise
	}
	name := [sha256.Size]byte(h.Sum(nil))
	l.mu.Lock()
	set := l.known[name]
	l.mu.Unlock()
	if set != nil {
		return set, nil
	}
	made, err := publish.Subset(v, key, kids)
	if err != nil {
		return nil, err
	}
	set = loadedSet(key, made)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxLoadedSets || l.known == nil {
		l.known = map[[sha256.Size]byte]*command.LoadedSet{}
	}
	l.known[name] = set
	return set, nil
}

func loadedSet(key lifecycle.KeyID, set *publish.TrustSet) *command.LoadedSet {
	out := &command.LoadedSet{Key: key, Digest: set.Digest, KIDs: make([]string, len(set.Instances))}
	for n, i := range set.Instances {
		out.KIDs[n] = i.KID
	}
	return out
}
