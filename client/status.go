package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Status is a status answer whose signature, author, nonce, age and position have
// been checked. Nothing in it is taken from outside of the signed statement.
type Status struct {
	wire.StatusClaims
	JWS string `json:"jws"` // the proof, for whoever has the cluster's CA bundle
}

// Good reports whether the key or kid may be relied on. Every other status, unknown
// and indeterminate among them, says no.
func (s *Status) Good() bool { return s != nil && s.StatusClaims.Status == wire.Good }

// KeyStatus asks the public listeners whether a key may be relied on now.
//
// It fails closed: an answer that is unsigned, forged, expired, to another question
// or older than what was seen is an error. One node's bad answer, or a node that is
// too stale to tell, is passed over for the next. Only when all of them are stale is
// the answer indeterminate.
func (c *Client) KeyStatus(ctx context.Context, key string, opts ...Option) (*Status, error) {
	return c.status(ctx, wire.Path(wire.PathKeyStatus, key), wire.KeySubject(key), opts)
}

// KIDStatus is KeyStatus for one public key, by its whole kid.
func (c *Client) KIDStatus(ctx context.Context, kid string, opts ...Option) (*Status, error) {
	return c.status(ctx, strings.Replace(wire.PathKIDStatus, "{kid}", url.PathEscape(kid), 1), wire.KIDSubject(kid), opts)
}

func (c *Client) status(ctx context.Context, path, subject string, opts []Option) (best *Status, err error) {
	err = c.standing(ctx, path, subject, opts, func(jws string, e Expect) (said string, position wire.Position, err error) {
		claims, err := VerifyStatus(jws, e)
		if err != nil {
			return said, position, err
		}
		if best == nil || claims.Status != wire.Indeterminate {
			best = &Status{*claims, jws}
		}
		return claims.Status, claims.Position, nil
	})
	if best != nil {
		return best, nil
	}
	return nil, err
}

// standing asks for a signed status answer. take verifies it and keeps it, the best so
// far being one that says something; the search ends with that.
func (c *Client) standing(ctx context.Context, path, subject string, opts []Option, take func(jws string, e Expect) (string, wire.Position, error)) error {
	return c.attested(ctx, path, subject, opts, func(body []byte, e Expect) (position wire.Position, final bool, err error) {
		var out struct {
			Signed bool   `json:"signed"`
			JWS    string `json:"jws"`
		}
		if err := json.Unmarshal(body, &out); err != nil {
			return position, false, fmt.Errorf("read the status: %w", err)
		}
		if !out.Signed || out.JWS == "" {
			return position, false, ErrUnsigned
		}
		said, position, err := take(out.JWS, e)
		return position, err == nil && said != wire.Indeterminate, err
	})
}

// TrustSet loads a key's trust set from the public listeners, signed.
func (c *Client) TrustSet(ctx context.Context, key string, opts ...Option) (set *KeySet, claims *wire.TrustSetClaims, err error) {
	err = c.attested(ctx, wire.Path(wire.PathTrustSet, key), wire.TrustSetSubject(key), opts, func(body []byte, e Expect) (wire.Position, bool, error) {
		ks, cl, err := VerifyTrustSet(string(body), e)
		if err != nil {
			return wire.Position{}, false, err
		}
		set, claims = ks, cl
		return cl.Position, true, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return set, claims, nil
}

const statusRounds = 2 // over all nodes, when none gave a statement that can be believed

// attested asks one public listener after the other. judge verifies a body and says
// whether to stop asking.
func (c *Client) attested(ctx context.Context, path, subject string, opts []Option, judge func([]byte, Expect) (wire.Position, bool, error)) error {
	if c.roots == nil {
		return fmt.Errorf("%w: no CA of the cluster is known, so nothing can be verified: name its bundle", ErrForged)
	}
	cl := newCall(http.MethodGet, path, opts)
	nonce := newNonce()
	cl.public, cl.read = true, !cl.stale
	cl.query.Set(wire.QueryNonce, nonce)
	nodes, err := c.publicNodes(ctx, cl)
	if err != nil {
		return err
	}
	told, done := false, false
	cl.check = func(body []byte, asked anchor) error {
		at, final, err := judge(body, Expect{Roots: c.roots, Cluster: c.cfg.Cluster, Subject: subject, Nonce: nonce, Epoch: asked.epoch, Index: asked.index, Skew: c.cfg.Skew})
		if err != nil {
			return err
		}
		told, done = true, final
		c.Anchor(at.Epoch, at.Index)
		return nil
	}
	t := &trial{client: c, call: cl, giveUp: time.Now().Add(c.cfg.Timeout)}
	for round := range statusRounds {
		if round > 0 && (told || !t.sleep(ctx, firstPause)) {
			break
		}
		for _, base := range nodes {
			r := t.try(ctx, base)
			if wire.CodeOf(r.err) == wire.EpochChanged {
				// Only a signed statement proves it: ask for one of whatever position.
				cl.bare = true
				r = t.try(ctx, base)
			}
			switch {
			case r.err == nil && done:
				c.preferPublic(base)
				return nil
			case r.err != nil && !r.retry:
				return r.err
			}
		}
	}
	if told {
		return nil
	}
	return t.exhausted(ctx)
}

// newNonce draws 128 bits.
func newNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// final reports an error that asking another node does not mend: it is proven that
// the cluster was restored.
func final(err error) bool { return errors.Is(err, ErrEpoch) }

// publicNodes are the base URLs of the public listeners, the preferred one first.
// When none are configured the members' addresses are asked for.
func (c *Client) publicNodes(ctx context.Context, cl *call) ([]string, error) {
	if cl.pinned != "" {
		base, err := publicURL(cl.pinned)
		return []string{base}, err
	}
	c.mu.Lock()
	known := slices.Clone(c.public)
	c.mu.Unlock()
	if len(known) > 0 {
		return known, nil
	}
	l, err := c.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the public listeners: %w", err)
	}
	for _, n := range l.Items {
		if base, err := publicURL(n.Addrs.Public); err == nil && n.Status != lifecycle.Removed {
			known = append(known, base)
		}
	}
	if len(known) == 0 {
		return nil, errors.New("no public listener is known: give Config.Public")
	}
	c.mu.Lock()
	c.public = slices.Clone(known)
	c.mu.Unlock()
	return known, nil
}

func (c *Client) preferPublic(base string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.public, base); i > 0 {
		copy(c.public[1:i+1], c.public[:i])
		c.public[0] = base
	}
}

// publicURL is the base URL of a public listener. Plain http may go anywhere: no
// credential is sent there, and what comes back is verified by its signature.
func publicURL(addr string) (string, error) {
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("public address %q: write it like node1.example.com:7601 or http://node1.example.com:7601", addr)
	}
	return u.Scheme + "://" + u.Host, nil
}
