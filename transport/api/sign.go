package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

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

// signRequest is the request as the signer sees it.
func (c *call) signRequest() signing.Request {
	return signing.Request{Caller: c.caller, ID: c.requestID, Key: c.name(), ReceivedAt: c.receivedAt}
}

// within sees to it that a released signature is written before its request is too
// old, or never: the connection is closed when the time has passed. What is left of
// it is counted by the clock that the signer counts with, so that a process that was
// stopped between the gate and here sends nothing either.
func (c *call) within(deadline time.Duration) error {
	left := deadline - c.Signer.Elapsed()
	if left <= 0 {
		c.Signer.Expired.Add(1)
		panic(http.ErrAbortHandler)
	}
	if err := http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(left)); err != nil {
		return fmt.Errorf("bound the time to write a signature: %w", err)
	}
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
		_, err := c.Signer.Sign(c.r.Context(), c.signRequest(), inputs)
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
		items, err = c.Signer.SignJWS(c.r.Context(), c.signRequest(), inputs)
	} else {
		items, err = c.Signer.Sign(c.r.Context(), c.signRequest(), inputs)
	}
	if err != nil {
		return nil, err
	}
	if err := c.within(items[0].Deadline); err != nil {
		return nil, err
	}
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
	if s.RecordIndex != 0 {
		b = append(b, `,"strict":true,"record_index":`...)
		b = append(strconv.AppendUint(b, s.RecordIndex, 10), ',')
	} else {
		b = append(b, `,"strict":false,`...)
	}
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
		out.Strict, out.RecordIndex = it.RecordIndex != 0, it.RecordIndex
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
	t, err := c.Signer.SignJWT(c.r.Context(), c.signRequest(), in.Claims, in.Type, in.TTL)
	if err != nil {
		return nil, err
	}
	if err := c.within(t.Deadline); err != nil {
		return nil, err
	}
	return wire.JWT{Token: t.Compact, Key: string(t.Key), Version: t.Version, KID: t.KID, Node: c.Node, Alg: t.Alg, Type: t.Type,
		ExpiresAt: expiry(t.Claims), Strict: t.RecordIndex != 0, RecordIndex: t.RecordIndex, Position: transport.Position(t.Position), RequestID: c.requestID}, nil
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
