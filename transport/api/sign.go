package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// signRequestID takes the caller's id for the audit record, or makes one. A
// signature is not an operation: a repeat signs again, which harms nobody.
func (c *call) signRequestID() error {
	v := c.r.Header[wire.HeaderRequestID]
	if len(v) == 1 {
		if _, err := command.RequestTime(v[0]); err != nil {
			return wire.Errorf(wire.Invalid, "%v", err)
		}
		c.requestID = v[0]
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("draw a request id: %w", err)
	}
	c.requestID = id.String()
	return nil
}

func (c *call) signBytes(in *wire.SignRequest) (any, error) {
	if err := c.signRequestID(); err != nil {
		return nil, err
	}
	if c.Signer == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node does not sign").WithHint("try another node")
	}
	inputs, err := signInputs(in, len(c.body))
	if err != nil {
		return nil, err
	}
	k := c.snap.Key(lifecycle.KeyID(c.name()))
	if k == nil {
		// Whether a key exists is told to those who may use it: the signer says which.
		_, err := c.Signer.Sign(c.r.Context(), c.caller, c.requestID, c.name(), inputs)
		return nil, err
	}
	format, err := signFormat(k.Alg, in.Format)
	if err != nil {
		return nil, err
	}
	if err := c.pinned(k, in.KID); err != nil {
		return nil, err
	}
	var items []signing.Item
	if format == wire.FormatJWS {
		items, err = c.Signer.SignJWS(c.r.Context(), c.caller, c.requestID, c.name(), inputs)
	} else {
		items, err = c.Signer.Sign(c.r.Context(), c.caller, c.requestID, c.name(), inputs)
	}
	if err != nil {
		return nil, err
	}
	c.count(items)
	if in.Items == nil {
		return c.oneSignature(items[0], format)
	}
	return c.manySignatures(items, format)
}

// signInputs reads one input, or a batch.
func signInputs(in *wire.SignRequest, size int) ([]signing.Input, error) {
	if in.Items == nil {
		if size > wire.MaxSignBytes {
			return nil, wire.Errorf(wire.TooLarge, "the body has more than %d bytes", wire.MaxSignBytes).WithHint("hash it and send the digest")
		}
		return []signing.Input{{Message: in.Message, Digest: in.Digest, Hash: in.Hash}}, nil
	}
	if in.Message != nil || in.Digest != nil || in.Hash != "" {
		return nil, wire.Errorf(wire.Invalid, "send either one message or digest, or items")
	}
	if len(in.Items) == 0 || len(in.Items) > wire.MaxBatchItems {
		return nil, wire.Errorf(wire.Invalid, "%d items: send 1 to %d", len(in.Items), wire.MaxBatchItems)
	}
	out := make([]signing.Input, len(in.Items))
	for i, item := range in.Items {
		out[i] = signing.Input{Message: item.Message, Digest: item.Digest, Hash: item.Hash}
	}
	return out, nil
}

// signFormat chooses the encoding of signatures.
func signFormat(alg lifecycle.Algorithm, asked string) (string, error) {
	ecdsa := alg == lifecycle.ES256 || alg == lifecycle.ES384
	switch {
	case asked == "" && ecdsa, asked == wire.FormatDER && ecdsa:
		return wire.FormatDER, nil
	case asked == "", asked == wire.FormatRaw:
		return wire.FormatRaw, nil
	case asked == wire.FormatJWS:
		return wire.FormatJWS, nil
	case asked == wire.FormatDER:
		return "", wire.Errorf(wire.Invalid, "%s signatures have no DER form", alg).WithHint("--format raw")
	}
	return "", wire.Errorf(wire.Invalid, "unknown signature format %.20q: choose der, raw or jws", asked)
}

// pinned refuses when another instance than the named one would sign.
func (c *call) pinned(k *lifecycle.Key, kid string) error {
	if kid == "" {
		return nil
	}
	i := c.snap.Instance(k.ID, k.Active, c.Service.Ledger().NodeID())
	if len(kid) < publish.MinKIDPrefix || i == nil || !strings.HasPrefix(i.KID, kid) {
		return wire.Errorf(wire.InstanceNotHere, "this node does not sign with the instance %.50q", kid).WithHint("chancery key show %s", k.ID)
	}
	return nil
}

func (c *call) count(items []signing.Item) {
	n, kid := 0, ""
	for _, it := range items {
		if it.Err == nil {
			n, kid = n+1, it.KID
		}
	}
	if n > 0 {
		c.usage.add(kid, n, c.Clock())
	}
}

// oneSignature renders the answer by hand: it is the busiest of all.
func (c *call) oneSignature(s signing.Item, format string) (any, error) {
	sig, err := encodeSignature(s, format)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 768)
	b = append(append(append(b, `{"key":"`...), s.Key...), `","version":`...)
	b = strconv.AppendUint(b, s.Version, 10)
	b = append(append(append(b, `,"kid":"`...), s.KID...), `","node":"`...)
	b = append(append(append(append(b, c.Node...), `","alg":"`...), s.Alg...), '"')
	if format == wire.FormatJWS {
		b = append(append(append(b, `,"jws":"`...), sig...), '"')
	} else {
		b = append(b, `,"signature":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, sig), '"')
	}
	b = append(append(b, `,"format":"`...), format...)
	b = append(append(append(b, `","input":"`...), s.Kind...), `","hash":`...)
	if s.Hash == "" {
		b = append(b, "null"...)
	} else {
		b = append(append(append(b, '"'), s.Hash...), '"')
	}
	b = append(b, `,"strict":false,`...)
	b = transport.AppendPosition(b, s.Position)
	b = append(append(append(b, `,"request_id":"`...), c.requestID...), "\"}\n"...)
	return raw{body: b}, nil
}

func (c *call) manySignatures(items []signing.Item, format string) (any, error) {
	out := wire.Signatures{Key: c.name(), Node: c.Node, Format: format, RequestID: c.requestID, Results: make([]wire.SignResult, len(items))}
	for i, it := range items {
		out.Version, out.Alg, out.Position = it.Version, it.Alg, transport.Position(it.Position)
		if it.Err != nil {
			out.Results[i].Error = transport.Failure(it.Err)
			if out.Results[i].Error.Code == wire.Internal {
				c.Logger.Error("sign an item", "request_id", c.requestID, "key", it.Key, "err", it.Err)
			}
			continue
		}
		sig, err := encodeSignature(it, format)
		if err != nil {
			return nil, err
		}
		out.Results[i].KID = it.KID
		if format == wire.FormatJWS {
			out.Results[i].JWS = string(sig)
		} else {
			out.Results[i].Signature = sig
		}
	}
	return out, nil
}

func encodeSignature(s signing.Item, format string) ([]byte, error) {
	switch format {
	case wire.FormatRaw:
		return signing.JOSESignature(s.Alg, s.Bytes)
	case wire.FormatJWS:
		return s.JWS, nil
	}
	return s.Bytes, nil
}

func (c *call) signToken(in *wire.JWTRequest) (any, error) {
	if err := c.signRequestID(); err != nil {
		return nil, err
	}
	if c.Signer == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node does not sign").WithHint("try another node")
	}
	if len(in.Claims) == 0 {
		return nil, wire.Errorf(wire.Invalid, "claims are missing").WithHint(`send {"claims":{"sub":"build-7"}}`)
	}
	if in.TTL < 0 {
		return nil, wire.Errorf(wire.Invalid, "ttl must not be negative")
	}
	t, err := c.Signer.SignJWT(c.r.Context(), c.caller, c.requestID, c.name(), in.Claims, in.Type, in.TTL)
	if err != nil {
		return nil, err
	}
	c.usage.add(t.KID, 1, c.Clock())
	return wire.JWT{Token: t.Compact, Key: string(t.Key), Version: t.Version, KID: t.KID, Node: c.Node, Alg: t.Alg, Type: t.Type,
		ExpiresAt: expiry(t.Claims), Position: transport.Position(t.Position), RequestID: c.requestID}, nil
}

// expiry is the exp claim, which the signer has set or checked.
func expiry(claims map[string]any) wire.Time {
	n, ok := claims["exp"].(json.Number)
	if !ok {
		return 0
	}
	s, err := n.Int64()
	if err != nil {
		return 0
	}
	return wire.Time(s * 1000)
}

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
	return c.verification(d, claims), nil
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
