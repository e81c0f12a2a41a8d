package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// MaxClaimsBytes bounds a token's claims.
const MaxClaimsBytes = 16 << 10

// Token is a released JWT (RFC 7519) in compact serialization.
type Token struct {
	Signature
	Compact string
	Type    string         // typ of the header
	Claims  map[string]any // as signed
}

// SignJWT checks claims against the key's policy, completes them and signs. The
// header is ours alone: alg is the key's, kid the instance's, typ one the policy
// lists. typ "" means the policy's first; ttl 0 means what the claims say, or five
// minutes.
func (s *Signer) SignJWT(ctx context.Context, req Request, claims []byte, typ string, ttl lifecycle.Milliseconds) (*Token, error) {
	j, err := s.admit(req)
	if err != nil {
		return nil, err
	}
	if !j.key.Purpose.SignsTokens() {
		return nil, refuse("wrong_purpose", "chancery sign "+req.Key, "%s is a key of purpose %s: it signs no tokens", req.Key, j.key.Purpose)
	}
	if typ, err = chooseType(j.key, typ); err != nil {
		return nil, err
	}
	set, err := parseClaims(claims)
	if err != nil {
		return nil, err
	}
	if err := completeClaims(j.key, set, s.Clock().Unix(), ttl); err != nil {
		return nil, err
	}
	if err := s.dated(req); err != nil {
		return nil, err
	}
	signing, err := signingInput(j, typ, set)
	if err != nil {
		return nil, err
	}
	items, err := s.sign(ctx, j, "jwt", []Input{{Message: signing}})
	if err != nil {
		return nil, err
	}
	sig := items[0].Signature
	raw, err := JOSESignature(sig.Alg, sig.Bytes)
	if err != nil {
		return nil, err
	}
	return &Token{Signature: sig, Claims: set, Type: typ, Compact: string(signing) + "." + base64.RawURLEncoding.EncodeToString(raw)}, nil
}

// JOSESignature is the signature as RFC 7518 writes it: r||s for ECDSA.
func JOSESignature(alg lifecycle.Algorithm, sig []byte) ([]byte, error) {
	if alg == lifecycle.ES256 || alg == lifecycle.ES384 {
		return hsm.RawECDSA(alg, sig)
	}
	return sig, nil
}

func chooseType(k *lifecycle.Key, typ string) (string, error) {
	if typ == "" {
		return k.Policy.Types[0], nil
	}
	if !slices.Contains(k.Policy.Types, typ) {
		return "", refuse("claims_refused", "", "the policy of %s allows typ %v, not %q", k.ID, k.Policy.Types, typ)
	}
	return typ, nil
}

// parseClaims reads a JSON object. A name that stands twice is refused: readers
// disagree about which one counts, and a check here could look at the other.
func parseClaims(b []byte) (map[string]any, error) {
	if len(b) > MaxClaimsBytes {
		return nil, refuse("too_large", "", "claims of %d bytes: at most %d are signed", len(b), MaxClaimsBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	set, ok := v.(map[string]any)
	if err == nil && !ok {
		err = errors.New("they are not an object")
	}
	if err != nil {
		return nil, refuse("claims_refused", `send a JSON object such as {"sub":"build-7"}`, "the claims cannot be read: %v", err)
	}
	return set, nil
}

const maxClaimsDepth = 16

func value(dec *json.Decoder, depth int) (any, error) {
	if depth > maxClaimsDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxClaimsDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return object(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return t, nil
}

func object(dec *json.Decoder, depth int) (any, error) {
	set := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("a member has no name")
		}
		if _, twice := set[name]; twice {
			return nil, fmt.Errorf("%q stands twice", name)
		}
		if set[name], err = value(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return set, err
}

const defaultTTL = 5 * lifecycle.Minute

// completeClaims sets iat, exp and iss, and checks them, nbf and aud.
func completeClaims(k *lifecycle.Key, set map[string]any, now int64, ttl lifecycle.Milliseconds) error {
	p := k.Policy
	bad := func(format string, args ...any) error {
		return refuse("claims_refused", "chancery key policy get "+string(k.ID), format, args...)
	}
	iat, err := claimTime(set, "iat", now)
	if err != nil || iat > now+60 || iat < now-60 {
		return bad("iat must be now, as a number of seconds; leave it out and it is set")
	}
	most := p.LongestTTL()
	if ttl == 0 {
		ttl = min(defaultTTL, most)
	}
	exp, err := claimTime(set, "exp", iat+int64(ttl/lifecycle.Second))
	switch {
	case err != nil:
		return bad("exp must be a number of seconds since 1970")
	case exp <= now:
		return bad("exp lies in the past")
	case exp-iat > int64(most/lifecycle.Second):
		return bad("the token would live %d s, the policy allows %s", exp-iat, most)
	}
	if nbf, err := claimTime(set, "nbf", iat); err != nil || nbf >= exp {
		return bad("nbf must be a number of seconds before exp")
	}
	set["iat"], set["exp"] = json.Number(fmt.Sprint(iat)), json.Number(fmt.Sprint(exp))
	if p.Issuer != "" {
		if iss, ok := set["iss"]; ok && iss != p.Issuer {
			return bad("iss must be %q", p.Issuer)
		}
		set["iss"] = p.Issuer
	}
	return checkAudience(p, set, bad)
}

func checkAudience(p lifecycle.Policy, set map[string]any, bad func(string, ...any) error) error {
	if len(p.Audiences) == 0 {
		return nil
	}
	var all []any
	switch aud := set["aud"].(type) {
	case string:
		all = []any{aud}
	case []any:
		all = aud
	}
	if len(all) == 0 {
		return bad("aud is missing: the policy allows %v", p.Audiences)
	}
	for _, a := range all {
		if s, ok := a.(string); !ok || !slices.Contains(p.Audiences, s) {
			return bad("aud %v is not among %v", a, p.Audiences)
		}
	}
	return nil
}

// claimTime reads a NumericDate in whole seconds.
func claimTime(set map[string]any, name string, absent int64) (int64, error) {
	v, ok := set[name]
	if !ok {
		return absent, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is not a number", name)
	}
	return n.Int64()
}

// signingInput is the header and the claims, each base64url, joined by a dot.
func signingInput(j *job, typ string, set map[string]any) ([]byte, error) {
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
		Typ string `json:"typ"`
	}{string(j.key.Alg), j.instance.KID, typ})
	if err != nil {
		return nil, fmt.Errorf("encode the token header: %w", err)
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(set); err != nil {
		return nil, fmt.Errorf("encode the claims: %w", err)
	}
	b := base64.RawURLEncoding.AppendEncode(nil, header)
	b = append(b, '.')
	return base64.RawURLEncoding.AppendEncode(b, bytes.TrimRight(body.Bytes(), "\n")), nil
}
