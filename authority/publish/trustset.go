package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TrustSet is the public keys a verifier must accept for a Key, or for every
// published token key. It is immutable and shared.
type TrustSet struct {
	Key       lifecycle.KeyID // "" for the well-known set
	JWKS      []byte          // canonical JWK Set, ends without a newline
	Digest    string          // "sha256:<hex>" over JWKS
	ETag      string          // Digest as a strong entity tag, quotes included
	Instances []*lifecycle.Instance

	horizon horizon
}

// entry is an instance with the algorithm of its key.
type entry struct {
	alg      lifecycle.Algorithm
	instance *lifecycle.Instance
}

// Set is the trust set of one key. ErrNoKey when there is no such key.
func Set(view *state.View, name lifecycle.KeyID) (*TrustSet, error) {
	k := view.Key(name)
	if k == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, name)
	}
	entries, h := collect(view, k)
	return build(name, entries, h)
}

// Subset is the set of exactly these kids of a key, trusted or not: what a verifier
// says it has loaded. ErrNoInstance when one of them is none of the key's.
func Subset(view *state.View, name lifecycle.KeyID, kids []string) (*TrustSet, error) {
	k := view.Key(name)
	if k == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, name)
	}
	var entries []entry
	for _, kid := range kids {
		found := view.ByKID(kid)
		if len(found) != 1 || found[0].KID != kid || found[0].Key != name {
			return nil, fmt.Errorf("%w: %.60q is none of key %s", ErrNoInstance, kid, name)
		}
		entries = append(entries, entry{k.Alg, found[0]})
	}
	return build(name, entries, horizon{})
}

// WellKnown is the trust set of /.well-known/jwks.json: all token and assertion
// keys whose policy opts in.
func WellKnown(view *state.View) (*TrustSet, error) {
	var entries []entry
	h := horizon{}
	view.EachKey("", func(k *lifecycle.Key) bool {
		if wellKnown(k) {
			es, kh := collect(view, k)
			entries, h = append(entries, es...), h.merge(kh)
		}
		return true
	})
	return build("", entries, h)
}

func wellKnown(k *lifecycle.Key) bool { return k.Purpose.SignsTokens() && k.Policy.Publish }

// collect lists what a verifier of the key must accept, and what is planned.
func collect(view *state.View, k *lifecycle.Key) ([]entry, horizon) {
	var entries []entry
	h := newHorizon(k)
	for _, v := range view.Versions(k.ID) {
		instances := view.Instances(k.ID, v.Number)
		h.look(k, v, instances)
		for _, i := range instances {
			if i.InTrustSet(v) {
				entries = append(entries, entry{k.Alg, i})
			}
		}
	}
	return entries, h
}

func build(name lifecycle.KeyID, entries []entry, h horizon) (*TrustSet, error) {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.instance.KID, b.instance.KID) })
	s := &TrustSet{Key: name, horizon: h, Instances: make([]*lifecycle.Instance, len(entries))}
	b := []byte(`{"keys":[`)
	for n, e := range entries {
		if n > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendJWK(b, e.alg, e.instance.KID, e.instance.SPKI); err != nil {
			return nil, fmt.Errorf("build trust set of %q: %w", name, err)
		}
		s.Instances[n] = e.instance
	}
	s.JWKS = append(b, "]}"...)
	sum := sha256.Sum256(s.JWKS)
	s.Digest = "sha256:" + hex.EncodeToString(sum[:])
	s.ETag = `"` + s.Digest + `"`
	return s, nil
}
