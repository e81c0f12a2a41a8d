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

// placeOf is where what a request asks for is kept; false when it asks for several
// certificates, or for a serial that is nobody's.
func placeOf(kid string, q *Request) (place, bool) {
	serial, ours := lifecycle.SerialOf(q.IDs[0].Serial)
	return place{kid, serial, q.IDs[0].Hash, q.IDs[0].null}, ours && len(q.IDs) == 1
}

// kept is an answer in the cache, or only how a certificate stands: answers to a nonce
// are not kept, but the next one needs no row for as long as nothing moved.
type kept struct {
	*Answer  // nil = none
	standing Standing
	renewAt  time.Time     // half its life: one asker makes a new one, the others get this
	renewing atomic.Bool   // by somebody, now
	index    atomic.Uint64 // the newest state that is known to say the same
}

// answers reports whether there is an answer that has not ended. A nil kept has none.
func (k *kept) answers(now time.Time) bool {
	return k != nil && k.Answer != nil && now.Before(k.NextUpdate)
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
	if has && old.index.Load() > k.index.Load() && (old.Answer != nil || k.Answer == nil) {
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

// note keeps only how the certificate of an answer stands, unless more is kept already.
func (c *cache) note(p place, from *kept) {
	if c.get(p) != nil {
		return // most of the time, and without the lock of a writer
	}
	k := &kept{standing: from.standing}
	k.index.Store(from.index.Load())
	c.put(p, k)
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
