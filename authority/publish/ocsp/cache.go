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
	renewAt  time.Time   // half its life: one asker makes a new one, the others get this
	renewing atomic.Bool // by somebody, now
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
	// droppedIndex is the newest state that something in this shard was dropped for. An
	// answer made from an older one is not kept: it may say what was just withdrawn.
	droppedIndex uint64
}

func shardOf(s lifecycle.Serial) int { return int(s[len(s)-1]) % shards }

func (c *cache) get(p place) *kept {
	s := &c[shardOf(p.serial)]
	s.RLock()
	defer s.RUnlock()
	return s.kept[p]
}

// put keeps an answer made from the state at index; false when something was dropped
// since, and the answer must be made again.
func (c *cache) put(p place, k *kept, index uint64) bool {
	s := &c[shardOf(p.serial)]
	s.Lock()
	defer s.Unlock()
	if index < s.droppedIndex {
		return false
	}
	if s.kept == nil {
		s.kept = make(map[place]*kept)
	}
	if _, has := s.kept[p]; !has && len(s.kept) >= shardMax {
		for victim := range s.kept { // map order is random enough for an eviction
			delete(s.kept, victim)
			break
		}
	}
	s.kept[p] = k
	return true
}

// overtaken reports whether an answer made from the state at index may be out of date.
func (c *cache) overtaken(serial lifecycle.Serial, index uint64) bool {
	s := &c[shardOf(serial)]
	s.RLock()
	defer s.RUnlock()
	return index < s.droppedIndex
}

// drop forgets what is kept about a certificate, as of the state at index.
func (c *cache) drop(kid string, serial lifecycle.Serial, index uint64) {
	s := &c[shardOf(serial)]
	s.Lock()
	defer s.Unlock()
	s.droppedIndex = max(s.droppedIndex, index)
	for _, h := range []Hash{SHA1, SHA256} {
		delete(s.kept, place{kid, serial, h, true})
		delete(s.kept, place{kid, serial, h, false})
	}
}

// clear forgets everything, as of the state at index.
func (c *cache) clear(index uint64) {
	for i := range c {
		s := &c[i]
		s.Lock()
		s.droppedIndex = max(s.droppedIndex, index)
		clear(s.kept)
		s.Unlock()
	}
}
