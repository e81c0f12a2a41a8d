package ocsp

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// place is what a kept answer is found by. Whoever asks in the same words gets the same
// bytes: the hash function and its parameters are part of the CertID in the answer.
type place struct {
	kid    string
	serial lifecycle.Serial
	hash   Hash
	null   bool
}

// kept is an answer in the cache.
type kept struct {
	*Answer
	standing Standing
	renewAt  time.Time     // half its life: one asker makes a new one, the others get this
	renewing atomic.Bool   // by somebody, now
	index    atomic.Uint64 // the newest state that is known to say the same
}

const (
	shards = 64
	// shardMax bounds a shard: 64 x 1024 answers of about 1 KiB.
	shardMax = 1024
)

// cache keeps answers. The zero value is ready. Serials end in random bits, so the last
// octet spreads them over the shards; a lock covers one shard and no signature.
type cache [shards]struct {
	sync.RWMutex
	kept map[place]*kept
}

func shardOf(s lifecycle.Serial) int { return int(s[len(s)-1]) % shards }

func (c *cache) get(p place) *kept {
	s := &c[shardOf(p.serial)]
	s.RLock()
	defer s.RUnlock()
	return s.kept[p]
}

// put keeps an answer, unless one of a newer state is there already.
func (c *cache) put(p place, k *kept) {
	s := &c[shardOf(p.serial)]
	s.Lock()
	defer s.Unlock()
	if s.kept == nil {
		s.kept = make(map[place]*kept)
	}
	old, has := s.kept[p]
	if has && old.index.Load() > k.index.Load() {
		return
	}
	if !has && len(s.kept) >= shardMax {
		for victim := range s.kept { // map order is random enough for an eviction
			delete(s.kept, victim)
			break
		}
	}
	s.kept[p] = k
}

// drop forgets an answer, unless another one took its place.
func (c *cache) drop(p place, k *kept) {
	s := &c[shardOf(p.serial)]
	s.Lock()
	defer s.Unlock()
	if s.kept[p] == k {
		delete(s.kept, p)
	}
}
