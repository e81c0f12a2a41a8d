package issuing

import (
	"maps"
	"sync"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Subject names what is counted together: an issuer and a profile that exist, or ""
// where the request named none.
type Subject struct{ Issuer, Profile string }

// Count of what became of requests on this node.
type Count struct {
	Issued  uint64 // certificates given out
	Refused uint64 // requests that got none, for whatever reason
}

// counts are the Office's.
type counts struct {
	mu sync.Mutex // owns of
	of map[Subject]Count
}

// Counts since the start, by issuer and profile.
func (o *Office) Counts() map[Subject]Count {
	o.counted.mu.Lock()
	defer o.counted.mu.Unlock()
	return maps.Clone(o.counted.of)
}

// count notes how a request ended, unless it was a repeat. Names that a stranger made up
// are not kept.
func (o *Office) count(issuer, profile string, is *Issued, err error) {
	if is != nil && is.Replayed {
		return
	}
	v, s := o.Ledger.View(), Subject{}
	if v.Issuer(lifecycle.KeyID(issuer)) != nil {
		s.Issuer = issuer
	}
	if _, unknown := Profile(v, profile); unknown == nil {
		s.Profile = profile
	}
	o.counted.mu.Lock()
	defer o.counted.mu.Unlock()
	n := o.counted.of[s]
	if err == nil {
		n.Issued++
	} else {
		n.Refused++
	}
	o.counted.of[s] = n
}
