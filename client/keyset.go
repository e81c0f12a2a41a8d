package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// ErrSignature is returned when no key of the set made the signature.
var ErrSignature = errors.New("the signature is by no key of this set")

// KeySet is a trust set, as a verifier loads it from /keys/{name}/jwks.json. It
// verifies without a server and knows only what was true when it was fetched: load
// it again as often as its Cache-Control says.
type KeySet struct{ keys []trusted }

type trusted struct {
	kid    string
	alg    lifecycle.Algorithm
	public crypto.PublicKey
}

// maxKeySet bounds a JWK Set in bytes.
const maxKeySet = 1 << 20

// ParseKeySet reads a JWK Set (RFC 7517). Every key must name its algorithm, and
// its kid must be its own thumbprint (RFC 7638), as Chancery's are.
func ParseKeySet(b []byte) (*KeySet, error) {
	if len(b) > maxKeySet {
		return nil, fmt.Errorf("a JWK Set of %d bytes: at most %d are read", len(b), maxKeySet)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("read the JWK Set: %w", err)
	}
	ks := new(KeySet)
	for _, k := range set.Keys {
		thumb, err := k.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("read the JWK Set: key %q: %w", k.KeyID, err)
		}
		if base64.RawURLEncoding.EncodeToString(thumb) != k.KeyID {
			return nil, fmt.Errorf("read the JWK Set: kid %q is not the thumbprint of its key", k.KeyID)
		}
		t := trusted{kid: k.KeyID, alg: lifecycle.Algorithm(k.Algorithm), public: k.Key}
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("read the JWK Set: key %q: %w", k.KeyID, err)
		}
		ks.keys = append(ks.keys, t)
	}
	return ks, nil
}

// check refuses private keys and keys that do not fit their algorithm.
func (t trusted) check() error {
	ok := false
	switch k := t.public.(type) {
	case *ecdsa.PublicKey:
		ok = t.alg == lifecycle.ES256 && k.Curve.Params().BitSize == 256 || t.alg == lifecycle.ES384 && k.Curve.Params().BitSize == 384
	case *rsa.PublicKey:
		ok = t.alg.IsRSA() && k.N.BitLen() >= lifecycle.MinRSABits
	case ed25519.PublicKey:
		ok = t.alg == lifecycle.EdDSA
	}
	if !ok {
		return fmt.Errorf("%T does not go with algorithm %q", t.public, t.alg)
	}
	return nil
}

// KIDs of the set, in its order.
func (ks *KeySet) KIDs() []string {
	out := make([]string, len(ks.keys))
	for i, k := range ks.keys {
		out[i] = k.kid
	}
	return out
}

// Verify checks a signature over everything that message yields and returns the
// kid that made it. format is wire.FormatDER or FormatRaw, "" = DER for ECDSA. kid
// narrows the search, a prefix of 8 will do; "" tries all.
func (ks *KeySet) Verify(message io.Reader, sig []byte, format, kid string) (string, error) {
	return ks.verify(message, sig, kid, format)
}

// VerifyAny is Verify for a signature whose form is not known: DER and r||s are
// both tried.
func (ks *KeySet) VerifyAny(message io.Reader, sig []byte, kid string) (string, error) {
	return ks.verify(message, sig, kid, wire.FormatDER, wire.FormatRaw)
}

func (ks *KeySet) verify(message io.Reader, sig []byte, kid string, formats ...string) (string, error) {
	h256, h384 := sha256.New(), sha512.New384()
	whole := &head{max: wire.MaxMessageBytes + 1} // EdDSA never signed anything longer
	if _, err := io.Copy(io.MultiWriter(h256, h384, whole), message); err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	inputs := map[lifecycle.Hash][]byte{
		lifecycle.SHA256: h256.Sum(nil), lifecycle.SHA384: h384.Sum(nil), lifecycle.NoHash: whole.b,
	}
	return ks.try(kid, func(t trusted) bool {
		return slices.ContainsFunc(formats, func(f string) bool { return t.verify(inputs[t.alg.Hash()], sig, f) })
	})
}

// VerifyDigest is Verify for a digest the caller has.
func (ks *KeySet) VerifyDigest(hash lifecycle.Hash, digest, sig []byte, format, kid string) (string, error) {
	if hash.Size() == 0 || len(digest) != hash.Size() {
		return "", fmt.Errorf("a digest of %d bytes is not a %s", len(digest), hash)
	}
	return ks.try(kid, func(t trusted) bool { return t.alg.Hash() == hash && t.verify(digest, sig, format) })
}

// head keeps the first max bytes of what is written to it.
type head struct {
	b   []byte
	max int
}

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.max-len(h.b))]...)
	return len(p), nil
}

const minKIDPrefix = 8

func (ks *KeySet) try(kid string, good func(trusted) bool) (string, error) {
	for _, t := range ks.keys {
		if kid != "" && t.kid != kid && !(len(kid) >= minKIDPrefix && strings.HasPrefix(t.kid, kid)) {
			continue
		}
		if good(t) {
			return t.kid, nil
		}
	}
	return "", ErrSignature
}

func (t trusted) verify(input, sig []byte, format string) bool {
	switch k := t.public.(type) {
	case *ecdsa.PublicKey:
		if format != wire.FormatRaw {
			return ecdsa.VerifyASN1(k, input, sig)
		}
		n := (k.Curve.Params().BitSize + 7) / 8
		if len(sig) != 2*n {
			return false
		}
		return ecdsa.Verify(k, input, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case *rsa.PublicKey:
		if t.alg == lifecycle.PS256 {
			return rsa.VerifyPSS(k, crypto.SHA256, input, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, input, sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, input, sig)
	}
	return false
}

// Claims of a verified token.
type Claims struct {
	KID     string
	Type    string
	Payload json.RawMessage
}

// joseAlgs is everything a token may be signed with: no "none", no HMAC.
var joseAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256}

// maxSkew is how far the signer's clock may be off.
const maxSkew = time.Minute

// VerifyJWT checks a compact JWS that carries claims: a kid of this set, the
// algorithm of that key, the signature, and exp, nbf and iat against now. Audience
// and issuer are for the caller to check.
func (ks *KeySet) VerifyJWT(token string, now time.Time) (*Claims, error) {
	t, payload, err := ks.jws(token, nil)
	if err != nil {
		return nil, err
	}
	if err := checkTimes(payload, now); err != nil {
		return nil, err
	}
	return &Claims{KID: t.kid, Type: t.typ, Payload: payload}, nil
}

// VerifyJWS checks a compact JWS with a detached payload.
func (ks *KeySet) VerifyJWS(token string, message []byte) (kid string, err error) {
	t, _, err := ks.jws(token, message)
	return t.kid, err
}

type header struct{ kid, typ string }

func (ks *KeySet) jws(token string, detached []byte) (header, []byte, error) {
	if len(token) > wire.MaxTokenBytes {
		return header{}, nil, fmt.Errorf("a token of %d bytes: at most %d are read", len(token), wire.MaxTokenBytes)
	}
	var sig *jose.JSONWebSignature
	var err error
	if detached != nil {
		sig, err = jose.ParseDetached(token, detached, joseAlgs)
	} else {
		sig, err = jose.ParseSignedCompact(token, joseAlgs)
	}
	if err != nil || len(sig.Signatures) != 1 {
		return header{}, nil, fmt.Errorf("read the token: it is no compact JWS with one of the algorithms %v", joseAlgs)
	}
	h := sig.Signatures[0].Protected
	for _, k := range ks.keys {
		if k.kid != h.KeyID || string(k.alg) != h.Algorithm {
			continue
		}
		payload, err := sig.Verify(k.public)
		if err != nil {
			return header{}, nil, ErrSignature
		}
		typ, _ := h.ExtraHeaders[jose.HeaderType].(string) // absent or not a text: no type
		return header{k.kid, typ}, payload, nil
	}
	return header{}, nil, fmt.Errorf("%w: kid %q with %s is not in it", ErrSignature, h.KeyID, h.Algorithm)
}

// checkTimes looks the claims up by their exact names: a struct would also match
// "EXP", and let it override the real one.
func checkTimes(payload []byte, now time.Time) error {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return fmt.Errorf("read the claims: %w", err)
	}
	at := map[string]time.Time{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		raw, ok := claims[name]
		if !ok {
			continue
		}
		var sec float64
		if err := json.Unmarshal(raw, &sec); err != nil || sec < 0 || sec > maxSeconds {
			return fmt.Errorf("the claim %s is no time in seconds", name)
		}
		at[name] = time.Unix(int64(sec), 0)
	}
	latest := now.Add(maxSkew)
	switch {
	case at["exp"].IsZero():
		return fmt.Errorf("the token has no exp: it would be valid for ever")
	case !now.Before(at["exp"].Add(maxSkew)):
		return fmt.Errorf("the token expired at %s", wire.AsTime(at["exp"]))
	case latest.Before(at["nbf"]):
		return fmt.Errorf("the token is not valid before %s", wire.AsTime(at["nbf"]))
	case latest.Before(at["iat"]):
		return fmt.Errorf("the token says it was made at %s, which is in the future", wire.AsTime(at["iat"]))
	}
	return nil
}

const maxSeconds = 253402300799 // the end of the year 9999

// FetchKeySet loads a trust set over the public listener, for verifiers that have
// no credentials. url is what key show prints as trust_set.url; client trusts the
// cluster's CA.
func FetchKeySet(client *http.Client, url string) (*KeySet, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, fmt.Errorf("fetch the JWK Set: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the JWK Set: %w", wire.ReadError(resp.StatusCode, resp.Body))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("fetch the JWK Set: %w", err)
	}
	return ParseKeySet(b)
}
