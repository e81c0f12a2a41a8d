package signing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// SignJWS signs each message as the payload of a JWS (RFC 7515) and gives the
// compact form with the payload left out (appendix F). The header is ours alone: alg
// is the key's, kid the instance's. Keys that sign bytes only, whose policy allows
// it; token keys sign claims with SignJWT.
func (s *Signer) SignJWS(ctx context.Context, req Request, inputs []Input) ([]Item, error) {
	j, err := s.admit(req)
	if err != nil {
		return nil, err
	}
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
	}{string(j.key.Alg), j.instance.KID})
	if err != nil {
		return nil, fmt.Errorf("encode the JWS header: %w", err)
	}
	head := base64.RawURLEncoding.AppendEncode(nil, header)
	framed := make([]Input, len(inputs))
	for i, in := range inputs {
		if in.Message == nil {
			return nil, refuse("invalid", "send messages", "a JWS signs its payload, not a digest of it")
		}
		// The frame is a third longer than what it carries; the limit is the payload's.
		if len(in.Message) > MaxPayloadBytes {
			return nil, refuse("too_large", "sign a digest instead", "a payload of %d bytes: at most %d are signed as a JWS", len(in.Message), MaxPayloadBytes)
		}
		framed[i].Message = base64.RawURLEncoding.AppendEncode(append(append([]byte(nil), head...), '.'), in.Message)
	}
	items, err := s.sign(ctx, j, "jws", framed)
	if err != nil {
		return nil, err
	}
	for i := range items {
		if items[i].Err == nil {
			items[i].JWS, items[i].Err = compact(&items[i], head)
		}
	}
	return items, nil
}

// MaxPayloadBytes bounds the payload of a JWS, so that with its frame it stays
// within MaxMessageBytes.
const MaxPayloadBytes = 48<<10 - 256

func compact(it *Item, head []byte) ([]byte, error) {
	sig, err := JOSESignature(it.Alg, it.Bytes)
	if err != nil {
		return nil, err
	}
	it.Kind = lifecycle.InputJWS
	b := append(append([]byte(nil), head...), '.', '.')
	return base64.RawURLEncoding.AppendEncode(b, sig), nil
}
