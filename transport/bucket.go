package transport

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery-project/chancery/transport/wire"
)

// Rate is a token bucket: so many requests a second in the long run, and Burst at
// once. A zero PerSecond never refuses.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Buckets holds one token bucket per name: an address, a principal. A name that has
// not been seen for a while is forgotten; its bucket would be full by then.
type Buckets struct {
	rate Rate
	now  func() time.Time

	buckets sync.Map // string -> *bucket
	count   atomic.Int64
	sweep   sync.Mutex // one sweep at a time
}

type bucket struct {
	*rate.Limiter
	seenAt atomic.Int64 // unix seconds
}

// maxBuckets is from where on old names are swept; an attacker with more addresses
// than that gets them swept early, which only gives each a full bucket again.
const maxBuckets = 1 << 16

// NewBuckets makes an empty set. now nil = the wall clock.
func NewBuckets(r Rate, now func() time.Time) *Buckets {
	if now == nil {
		now = time.Now
	}
	return &Buckets{rate: r, now: now}
}

// Take takes one token from the name's bucket, or refuses with RateLimited.
func (b *Buckets) Take(name string) error {
	if b.rate.PerSecond == 0 {
		return nil
	}
	now := b.now()
	if b.get(name, now).AllowN(now, 1) {
		return nil
	}
	return wire.Errorf(wire.RateLimited, "more than %g requests a second", b.rate.PerSecond).
		WithHint("wait %d s, then send fewer at once", b.Wait())
}

// Wait is in how many whole seconds an empty bucket has a token again.
func (b *Buckets) Wait() int { return max(1, int(math.Ceil(1/b.rate.PerSecond))) }

func (b *Buckets) get(name string, now time.Time) *bucket {
	found, ok := b.buckets.Load(name)
	if !ok {
		fresh := &bucket{Limiter: rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)}
		fresh.seenAt.Store(now.Unix())
		if found, ok = b.buckets.LoadOrStore(name, fresh); !ok && b.count.Add(1) > maxBuckets {
			b.forget(now)
		}
	}
	k := found.(*bucket)
	if s := now.Unix(); k.seenAt.Load() != s {
		k.seenAt.Store(s)
	}
	return k
}

// forget drops names whose bucket has filled up since they were seen, and, when
// that is not enough, any.
func (b *Buckets) forget(now time.Time) {
	if !b.sweep.TryLock() {
		return
	}
	defer b.sweep.Unlock()
	full := int64(math.Ceil(float64(b.rate.Burst)/b.rate.PerSecond)) + 1
	drop := func(when func(*bucket) bool) {
		b.buckets.Range(func(name, k any) bool {
			if when(k.(*bucket)) {
				if _, ok := b.buckets.LoadAndDelete(name); ok {
					b.count.Add(-1)
				}
			}
			return b.count.Load() > maxBuckets/2
		})
	}
	drop(func(k *bucket) bool { return now.Unix()-k.seenAt.Load() > full })
	if b.count.Load() > maxBuckets {
		drop(func(*bucket) bool { return true })
	}
}

// AddressOf is the part of a remote address that one party holds: an IPv4 address,
// or the /64 of an IPv6 one, of which everybody has as many addresses as they like.
func AddressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Is4() {
		return host
	}
	if ip.Is4In6() {
		return ip.Unmap().String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return prefix.String()
}
