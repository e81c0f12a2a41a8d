package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	// ErrNoStatusKey is returned when this node has no certificate for its status key,
	// or only an expired one.
	ErrNoStatusKey = errors.New("this node has no valid certificate for its status key")
	// ErrNotDated is returned while this node's clock cannot be relied on.
	ErrNotDated = errors.New("this node may not date a statement")
	// ErrSigningBusy is returned when too many statements wait to be signed.
	ErrSigningBusy = errors.New("too many statements wait to be signed")
)

// StatusKey is a node's status key with its certificate. It is immutable.
type StatusKey struct {
	Node     lifecycle.NodeID
	Private  *ecdsa.PrivateKey // P-256
	Leaf     []byte            // its certificate, DER
	NotAfter time.Time         // of the leaf
}

// Attestor signs statements about the state with this node's status key: compact
// JWS with x5c, that whoever has the cluster's CA bundle can verify, wherever they
// come from.
//
// What may be stated is decided by the caller, from the freshness of its View; no
// lease is needed, because a statement carries its own age and lives for seconds.
// The zero Attestor has no key and says so.
type Attestor struct {
	Dated  func() error  // whether this node's clock may date a statement; nil = always
	Signed atomic.Uint64 // statements made

	now   atomic.Pointer[sealed]
	slots chan struct{}
}

// sealed is a status key with what its headers look like.
type sealed struct {
	StatusKey
	x5c string
}

// signWait is how long a statement waits for its turn.
const signWait = 200 * time.Millisecond

// NewAttestor makes an attestor without a key, that keeps at most half of the
// processors busy: strangers ask for statements, and callers sign beside them.
func NewAttestor() *Attestor {
	return &Attestor{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// Use takes a key, or a new certificate for it, from now on.
func (a *Attestor) Use(k StatusKey) error {
	if len(k.Leaf) == 0 || k.Private == nil || k.Private.Curve.Params().BitSize != 256 {
		return fmt.Errorf("use a status key: it needs a P-256 key and a certificate")
	}
	// The CA instance that issued the certificate is left out, as RFC 7515 section 4.1.6
	// allows: a verifier must have it anyway, and with it an answer no longer leaves in
	// one write of net/http, whose buffer has 4 KiB.
	x5c, err := json.Marshal([][]byte{k.Leaf}) // standard base64
	if err != nil {
		return fmt.Errorf("use a status key: %w", err)
	}
	a.now.Store(&sealed{k, string(x5c)})
	return nil
}

// Ready reports whether statements can be made, until when at most they can be
// verified, and the node they are by.
func (a *Attestor) Ready(now time.Time) (notAfter time.Time, node lifecycle.NodeID, ok bool) {
	if a == nil {
		return time.Time{}, "", false
	}
	k := a.now.Load()
	if k == nil || !now.Before(k.NotAfter) {
		return time.Time{}, "", false
	}
	return k.NotAfter, k.Node, true
}

// Sign makes a compact JWS (RFC 7515) with ES256 over the payload.
func (a *Attestor) Sign(ctx context.Context, typ string, payload []byte, now time.Time) (string, error) {
	if _, _, ok := a.Ready(now); !ok {
		return "", ErrNoStatusKey
	}
	if a.Dated != nil {
		if err := a.Dated(); err != nil {
			return "", fmt.Errorf("%w: %w", ErrNotDated, err)
		}
	}
	if err := a.enter(ctx); err != nil {
		return "", err
	}
	defer func() { <-a.slots }()
	k := a.now.Load()
	header := `{"alg":"ES256","typ":"` + typ + `","x5c":` + k.x5c + `}`
	encoding := base64.RawURLEncoding
	out := make([]byte, 0, encoding.EncodedLen(len(header))+encoding.EncodedLen(len(payload))+encoding.EncodedLen(64)+2)
	out = append(encoding.AppendEncode(out, []byte(header)), '.')
	out = encoding.AppendEncode(out, payload)
	digest := sha256.Sum256(out)
	r, s, err := ecdsa.Sign(rand.Reader, k.Private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign a statement: %w", err)
	}
	var raw [64]byte // r||s, RFC 7518 section 3.4
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	a.Signed.Add(1)
	return string(encoding.AppendEncode(append(out, '.'), raw[:])), nil
}

// enter waits for a slot; the caller gives it back.
func (a *Attestor) enter(ctx context.Context) error {
	select {
	case a.slots <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(signWait)
	defer t.Stop()
	select {
	case a.slots <- struct{}{}:
		return nil
	case <-t.C:
		return ErrSigningBusy
	case <-ctx.Done():
		return fmt.Errorf("wait to sign a statement: %w", ctx.Err())
	}
}
