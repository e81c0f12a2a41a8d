package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Expect is what a statement must be to be believed. Everything that is left out is
// not checked, but Roots and Subject.
type Expect struct {
	Roots   *x509.CertPool // the cluster's CA bundle
	Cluster string         // id; "" = the one that the CA says it is for
	Subject string         // wire.KeySubject, KIDSubject or TrustSetSubject of what was asked
	Nonce   string         // as it was sent; "" = none was
	Now     time.Time      // zero = time.Now
	Skew    time.Duration  // how far the clocks here and there may be apart; 0 = a minute

	// Epoch and Index are the highest position seen: a statement out of an older state
	// is refused with ErrWentBack, one of another epoch with *EpochChanged. Epoch 0 =
	// nothing was seen yet.
	Epoch, Index uint64
}

// VerifyStatus checks a signed status answer and returns what it says. It asks
// nobody: what was good when it was made may have been revoked a moment later, so it
// is worth as much as its expires_at says.
//
// Fail closed: on any error nothing is known about the key.
func VerifyStatus(jws string, e Expect) (*wire.StatusClaims, error) {
	claims := new(wire.StatusClaims)
	if err := e.verify(jws, wire.TypStatus, maxStatement, claims, &claims.Statement); err != nil {
		return nil, fmt.Errorf("verify a status answer: %w", err)
	}
	switch claims.Status {
	case wire.Revoked, wire.Indeterminate:
	case wire.Good, wire.Unknown, wire.OnHold:
		if claims.Freshness != wire.Bounded || claims.AsOf.IsZero() {
			return nil, fmt.Errorf("verify a status answer: %w: %q is said out of a state that is not fresh", ErrForged, claims.Status)
		}
	default:
		return nil, fmt.Errorf("verify a status answer: %w: status %.20q", ErrForged, claims.Status)
	}
	return claims, nil
}

// VerifyTrustSet checks a signed trust set. The Subject is wire.TrustSetSubject.
func VerifyTrustSet(jws string, e Expect) (*KeySet, *wire.TrustSetClaims, error) {
	claims := new(wire.TrustSetClaims)
	if err := e.verify(jws, wire.TypTrustSet, 2*maxKeySet, claims, &claims.Statement); err != nil {
		return nil, nil, fmt.Errorf("verify a trust set: %w", err)
	}
	sum := sha256.Sum256(claims.JWKS)
	if claims.Digest != fmt.Sprintf("sha256:%x", sum) || claims.Freshness != wire.Bounded {
		return nil, nil, fmt.Errorf("verify a trust set: %w: it contradicts itself", ErrForged)
	}
	set, err := ParseKeySet(claims.JWKS)
	return set, claims, err
}

// maxStatement bounds a status answer in bytes: certificates of 2 KiB, and a key with
// hundreds of versions.
const maxStatement = 1 << 20

// verify goes from the cheapest check to the dearest but looks at no claim before the
// signature is known to be good.
func (e *Expect) verify(jws, typ string, limit int, claims any, about *wire.Statement) error {
	return e.authentic(jws, typ, limit, func(payload []byte) (*wire.Statement, error) {
		return about, wire.DecodeClaims(payload, claims)
	})
}

// authentic is verify for claims that read decodes, and says in a Statement's words.
func (e *Expect) authentic(jws, typ string, limit int, read func(payload []byte) (*wire.Statement, error)) error {
	if e.Roots == nil || e.Subject == "" {
		return fmt.Errorf("%w: nobody said which cluster or which key it should be about", ErrForged)
	}
	now := e.Now
	if now.IsZero() {
		now = time.Now()
	}
	s, err := parseStatement(jws, typ, limit)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	node, cluster, err := s.signer(e.Roots, now)
	if err != nil {
		return err
	}
	if err := s.checkSignature(); err != nil {
		return err
	}
	about, err := read(s.payload)
	if err != nil {
		return fmt.Errorf("%w: read its claims: %w", ErrForged, err)
	}
	if about.Cluster != cluster || e.Cluster != "" && e.Cluster != cluster || about.NodeID != node {
		return fmt.Errorf("%w: it is of cluster %.40q and node %.16q", ErrForged, about.Cluster, about.NodeID)
	}
	return e.judge(about, now)
}

// judge compares an authentic statement with what was asked.
func (e *Expect) judge(s *wire.Statement, now time.Time) error {
	skew := e.Skew
	if skew <= 0 {
		skew = maxSkew
	}
	switch {
	case s.Subject != e.Subject:
		return fmt.Errorf("%w: it is about %.80q, not %q", ErrOtherQuestion, s.Subject, e.Subject)
	case s.Nonce != e.Nonce:
		return fmt.Errorf("%w: its nonce is another one", ErrOtherQuestion)
	case s.ExpiresAt.IsZero() || now.After(s.ExpiresAt.Time().Add(skew)):
		return fmt.Errorf("%w: it expired at %s, and it is %s here", ErrExpired, s.ExpiresAt, wire.AsTime(now))
	case s.AsOf.Time().After(now.Add(skew)):
		return fmt.Errorf("%w: it speaks of %s, which is in the future: check the clocks", ErrExpired, s.AsOf)
	case s.Position.Epoch == 0:
		return fmt.Errorf("%w: it names no position", ErrForged)
	case e.Epoch != 0 && s.Position.Epoch != e.Epoch:
		return &EpochChanged{Was: e.Epoch, Now: s.Position.Epoch}
	case e.Epoch != 0 && s.Position.Index < e.Index:
		return fmt.Errorf("%w: at %d, and %d was seen", ErrWentBack, s.Position.Index, e.Index)
	}
	return nil
}

// signedStatement is a compact JWS taken apart.
type signedStatement struct {
	chain     []*x509.Certificate
	input     string // what was signed
	payload   []byte
	signature []byte
}

// statementHeader is everything that may stand there: no kid, jwk, crit or b64.
type statementHeader struct {
	Alg string   `json:"alg"`
	Typ string   `json:"typ"`
	X5C [][]byte `json:"x5c"`
}

// maxChain bounds x5c: the leaf, the CA instance, and one to spare.
const maxChain = 3

func parseStatement(jws, typ string, limit int) (s signedStatement, err error) {
	if len(jws) > limit {
		return s, fmt.Errorf("it has %d bytes: at most %d are read", len(jws), limit)
	}
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return s, errors.New("it is no compact JWS")
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	head, err := decode(parts[0])
	if err != nil || strings.ContainsAny(jws, "\r\n") { // encoding/base64 passes line breaks over
		return s, errors.New("its header is not base64url")
	}
	var h statementHeader
	if err := wire.Decode(strings.NewReader(string(head)), int64(limit), &h); err != nil {
		return s, fmt.Errorf("read its header: %w", err)
	}
	switch {
	case h.Alg != "ES256":
		return s, fmt.Errorf("its alg is %.20q, and statements have ES256", h.Alg)
	case h.Typ != typ:
		return s, fmt.Errorf("its typ is %.40q, not %s", h.Typ, typ)
	case len(h.X5C) == 0 || len(h.X5C) > maxChain:
		return s, fmt.Errorf("its x5c has %d certificates", len(h.X5C))
	}
	for _, der := range h.X5C {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return s, fmt.Errorf("read its x5c: %w", err)
		}
		s.chain = append(s.chain, c)
	}
	if s.payload, err = decode(parts[1]); err != nil {
		return s, errors.New("its payload is not base64url")
	}
	if s.signature, err = decode(parts[2]); err != nil {
		return s, errors.New("its signature is not base64url")
	}
	s.input = parts[0] + "." + parts[1]
	return s, nil
}

// signer checks whose key it is: a status key of a node, by a CA instance among the
// roots. Only the leaf of x5c is used; the rest is for other people's libraries.
func (s *signedStatement) signer(roots *x509.CertPool, now time.Time) (node, cluster string, err error) {
	leaf := s.chain[0]
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "", "", fmt.Errorf("%w: its certificate is valid from %s to %s, and it is %s here", ErrExpired, wire.AsTime(leaf.NotBefore), wire.AsTime(leaf.NotAfter), wire.AsTime(now))
	case err != nil:
		return "", "", fmt.Errorf("%w: its certificate: %w", ErrForged, err)
	}
	usage := []asn1.ObjectIdentifier{lifecycle.StatusUsage()}
	if leaf.IsCA || len(leaf.ExtKeyUsage) > 0 || !slices.EqualFunc(leaf.UnknownExtKeyUsage, usage, asn1.ObjectIdentifier.Equal) || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return "", "", fmt.Errorf("%w: its certificate is not one for status answers", ErrForged)
	}
	if len(leaf.URIs) != 1 {
		return "", "", fmt.Errorf("%w: its certificate names %d subjects", ErrForged, len(leaf.URIs))
	}
	rest, ok := strings.CutPrefix(leaf.URIs[0].String(), "chancery://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || parts[1] != "status" || lifecycle.CheckNodeID(lifecycle.NodeID(parts[2])) != nil {
		return "", "", fmt.Errorf("%w: its certificate names no node's status key", ErrForged)
	}
	// A CA instance is made for one cluster and says so; without this, one bundle with
	// the CAs of two clusters would let one speak for the other.
	root := chains[0][len(chains[0])-1]
	if org := root.Subject.Organization; len(org) != 1 || org[0] != "chancery "+parts[0] {
		return "", "", fmt.Errorf("%w: its certificate is of cluster %.40q, its CA is not", ErrForged, parts[0])
	}
	return parts[2], parts[0], nil
}

func (s *signedStatement) checkSignature() error {
	key, ok := s.chain[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || len(s.signature) != 64 {
		return fmt.Errorf("%w: its key and signature are not of ES256", ErrForged)
	}
	digest := sha256.Sum256([]byte(s.input))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(s.signature[:32]), new(big.Int).SetBytes(s.signature[32:])) {
		return fmt.Errorf("%w: its signature does not verify", ErrForged)
	}
	return nil
}
