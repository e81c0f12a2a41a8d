package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func (c *call) verify(in *wire.VerifyRequest) (any, error) {
	id := lifecycle.KeyID(c.name())
	if err := c.may(access.KeyVerify, id); err != nil {
		return nil, err
	}
	k := c.snap.Key(id)
	if k == nil {
		return nil, wire.Errorf(wire.KeyNotFound, "there is no key %.80q", c.name()).WithHint("chancery key list")
	}
	var claims json.RawMessage
	if in.Token != "" {
		t, err := parseToken(in, k)
		if err != nil {
			return c.verification(signing.Verdict{Key: k.ID, Why: err.Error()}, nil), nil
		}
		in.Message, in.Digest, in.Signature, in.KID, in.Format, claims = t.input, nil, t.signature, t.kid, wire.FormatRaw, t.claims
	}
	if (in.Message == nil) == (in.Digest == nil) || in.Signature == nil {
		return nil, wire.Errorf(wire.Invalid, "send message or digest with signature, or token")
	}
	if in.Digest != nil && (in.Hash != "" && in.Hash != k.Alg.Hash() || len(in.Digest) != k.Alg.Hash().Size()) {
		return nil, wire.Errorf(wire.BadDigest, "%s signs %s digests", k.ID, k.Alg.Hash())
	}
	if in.KID != "" && in.Token == "" {
		i, err := authority.FindInstance(c.snap.View, k.ID, in.KID)
		if err != nil {
			return nil, err
		}
		in.KID = i.KID
	}
	sig, err := derSignature(k.Alg, in.Format, in.Signature)
	if err != nil {
		return nil, err
	}
	d, err := signing.Verify(c.snap.View, string(k.ID), in.KID, signing.Input{Message: in.Message, Digest: in.Digest, Hash: in.Hash}, sig)
	if err != nil {
		return nil, err
	}
	if d.Trusted && claims != nil {
		if why := c.timely(claims); why != "" {
			d.Trusted, d.Why = false, why
		}
	}
	out := c.verification(d, claims)
	if d.Valid {
		if err := c.addRecord(&out, d, k, in.Message, sig); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// derSignature turns r||s into the ASN.1 form that the verifier reads.
func derSignature(alg lifecycle.Algorithm, format string, sig []byte) ([]byte, error) {
	ecdsa := alg == lifecycle.ES256 || alg == lifecycle.ES384
	switch format {
	case "", wire.FormatDER:
		return sig, nil
	case wire.FormatRaw:
		if !ecdsa {
			return sig, nil
		}
		der, err := hsm.DERFromRaw(sig)
		if err != nil {
			return []byte{0}, nil // no signature of this algorithm looks like that: it does not verify
		}
		return der, nil
	}
	return nil, wire.Errorf(wire.Invalid, "unknown signature format %.20q: choose der or raw", format)
}

func (c *call) verification(d signing.Verdict, claims json.RawMessage) wire.Verification {
	out := wire.Verification{Valid: d.Valid && d.Trusted, Key: string(d.Key), Version: d.Version, KID: wire.Text(d.KID), Status: wire.Unknown,
		Why: wire.Text(d.Why), Position: transport.Position(c.snap.Position()), AsOf: wire.AsTime(c.snap.AsOf), Freshness: transport.FreshnessOf(c.snap)}
	if d.Valid {
		status := publish.KIDStatus(c.snap.View, d.KID, c.snap.Fresh)
		out.State, out.Status = wire.Text(d.State.String()), string(status.Answer)
		out.Node = wire.Text(nodeName(c.snap.View, status.Node))
		if out.Valid && status.Answer != publish.Good {
			out.Valid, out.Why = false, wire.Text("the state of this node does not call the key good: "+string(status.Answer))
		}
		out.Claims = claims
	}
	return out
}

// token is a compact JWS taken apart.
type token struct {
	input, signature []byte
	kid              string
	claims           json.RawMessage
}

// parseToken reads a compact JWS. The algorithm is the key's; what the header says
// must agree with it and decides nothing.
func parseToken(in *wire.VerifyRequest, k *lifecycle.Key) (t token, err error) {
	parts := strings.Split(in.Token, ".")
	if len(in.Token) > wire.MaxTokenBytes || len(parts) != 3 {
		return t, fmt.Errorf("it is not a compact JWS of at most %d bytes", wire.MaxTokenBytes)
	}
	header, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return t, fmt.Errorf("its header is not base64url")
	}
	var h struct {
		Alg  string   `json:"alg"`
		KID  string   `json:"kid"`
		Typ  string   `json:"typ"`
		B64  *bool    `json:"b64"`
		Crit []string `json:"crit"`
	}
	if err := json.Unmarshal(header, &h); err != nil {
		return t, fmt.Errorf("its header is not JSON")
	}
	switch {
	case h.Alg != string(k.Alg):
		return t, fmt.Errorf("its alg is %.20q, the key's is %s", h.Alg, k.Alg)
	case h.B64 != nil || len(h.Crit) > 0:
		return t, fmt.Errorf("its header asks for extensions that are not used here")
	case h.KID == "":
		return t, fmt.Errorf("its header names no kid")
	case k.Purpose.SignsTokens() && h.Typ != "" && !slices.Contains(k.Policy.Types, h.Typ):
		return t, fmt.Errorf("its typ %.40q is not one of %v", h.Typ, k.Policy.Types)
	}
	if parts[1] == "" && in.Message != nil { // detached (RFC 7515 appendix F)
		parts[1] = base64.RawURLEncoding.EncodeToString(in.Message)
	}
	t.kid, t.input = h.KID, []byte(parts[0]+"."+parts[1])
	if t.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return t, fmt.Errorf("its signature is not base64url")
	}
	if k.Purpose.SignsTokens() {
		claims, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
		if err != nil || !json.Valid(claims) {
			return t, fmt.Errorf("its claims are not JSON in base64url")
		}
		t.claims = claims
	}
	return t, nil
}

// timely checks exp and nbf; why is "" when the token may be used now.
func (c *call) timely(claims json.RawMessage) (why string) {
	var t struct {
		Exp *json.Number `json:"exp"`
		Nbf *json.Number `json:"nbf"`
	}
	if err := json.Unmarshal(claims, &t); err != nil {
		return "its claims cannot be read"
	}
	now := float64(c.Clock().UnixMilli()) / 1000
	if t.Exp != nil {
		if exp, err := t.Exp.Float64(); err != nil || now >= exp {
			return "it has expired"
		}
	}
	if t.Nbf != nil {
		if nbf, err := t.Nbf.Float64(); err != nil || now < nbf {
			return "it is not valid yet"
		}
	}
	return ""
}
