package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func signCommand() *cli.Command {
	return looking("sign", "KEY", "sign exactly the bytes given, with no prefix", sign,
		&cli.StringFlag{Name: "in", Usage: "file to sign, - for stdin"},
		&cli.StringFlag{Name: "out", Usage: "file for the signature", DefaultText: "stdout"},
		&cli.StringFlag{Name: "format", Usage: "der, raw, base64 or jws", DefaultText: "der with --out, base64 without"},
		&cli.BoolFlag{Name: "digest", Usage: "the input is a digest already, in bytes or hex"},
		&cli.StringFlag{Name: "bundle", Usage: "also write signature, kid and digest to this JSON file"},
	)
}

var signFormats = []string{wire.FormatDER, wire.FormatRaw, wire.FormatBase64, wire.FormatJWS}

func sign(s *session) error {
	if s.String("in") == "" {
		return usagef("chancery sign needs --in FILE, or --in - for stdin")
	}
	format := s.String("format")
	if format == "" {
		if format = wire.FormatBase64; s.String("out") != "" {
			format = wire.FormatDER
		}
	} else if !slices.Contains(signFormats, format) {
		return usagef("unknown format %q: choose one of %v", format, signFormats)
	}
	in, err := s.open(s.String("in"))
	if err != nil {
		return err
	}
	defer in.Close()
	for _, out := range []string{s.String("out"), s.String("bundle")} {
		if sameFile(s.String("in"), out) {
			return usagef("%s is what shall be signed: name another file for the signature", out)
		}
	}
	if err := s.sparesKeys(s.String("out"), s.String("bundle")); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	alg, err := algorithmOf(s, c, s.arg(0))
	if err != nil {
		return err
	}
	req, err := inputOf(in, alg, s.Bool("digest"), format == wire.FormatJWS)
	if err != nil {
		return err
	}
	if req.Format = format; format == wire.FormatBase64 {
		req.Format = ""
	}
	sig, err := c.Sign(s.ctx, s.arg(0), req, s.changes()...)
	if err != nil {
		return err
	}
	if bundle := s.String("bundle"); bundle != "" {
		b, err := json.MarshalIndent(signatureBundle{Bundle: 1, Digest: req.Digest, Signature: sig}, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the bundle: %w", err)
		}
		if err := s.write(bundle, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return putSignature(s, sig, format)
}

// signatureBundle is what --bundle writes and verify --sig reads back.
type signatureBundle struct {
	Bundle    int             `json:"chancery_bundle"`
	Digest    []byte          `json:"digest,omitempty"`
	Signature *wire.Signature `json:"signature"`
}

func putSignature(s *session, sig *wire.Signature, format string) error {
	body := sig.Signature
	switch format {
	case wire.FormatJWS:
		body = []byte(sig.JWS + "\n")
	case wire.FormatBase64:
		body = []byte(base64.StdEncoding.EncodeToString(sig.Signature) + "\n")
	}
	if s.format == formatJSON || s.format == formatYAML {
		if out := s.String("out"); out != "" {
			if err := s.write(out, body, 0o644); err != nil {
				return err
			}
		}
		return s.show(view{value: sig})
	}
	s.notef("signed by %s version %d on %s, kid %s%s", sig.Key, sig.Version, sig.Node, sig.KID, recordedAt(sig.RecordIndex))
	return s.write(s.String("out"), body, 0o644)
}

// recordedAt says where in the log a strict signature stands.
func recordedAt(index uint64) string {
	if index == 0 {
		return ""
	}
	return fmt.Sprintf(", recorded at index %d", index)
}

// algorithmOf asks for a key's algorithm. A caller who may sign but not look gets
// "", and its input goes as it is.
func algorithmOf(s *session, c *client.Client, key string) (lifecycle.Algorithm, error) {
	k, err := c.Key(s.ctx, key)
	switch {
	case wire.CodeOf(err) == wire.Denied:
		return "", nil
	case err != nil:
		return "", err
	}
	switch {
	case k.Purpose.SignsTokens():
		return "", wire.Errorf(wire.WrongPurpose, "key %s is for %s: it signs only claims that were checked", key, k.Purpose).
			WithHint("chancery jwt sign %s --claims FILE", key)
	case !k.Purpose.SignsBytes():
		return "", wire.Errorf(wire.WrongPurpose, "key %s is for %s and signs nothing that a caller chose", key, k.Purpose).
			WithHint("create a key with --purpose artifact")
	}
	return k.Alg, nil
}

// inputOf makes the request of an input: its digest whatever its size, or the
// message itself for EdDSA, for a JWS and when the algorithm is not known.
func inputOf(in io.Reader, alg lifecycle.Algorithm, isDigest, isJWS bool) (wire.SignRequest, error) {
	var h hash.Hash
	switch alg.Hash() {
	case lifecycle.SHA256:
		h = sha256.New()
	case lifecycle.SHA384:
		h = sha512.New384()
	}
	switch {
	case isDigest && (alg == lifecycle.EdDSA || isJWS):
		return wire.SignRequest{}, usagef("--digest: EdDSA and --format jws sign the message itself")
	case isDigest:
		return digestOf(in, alg.Hash())
	case h == nil || isJWS:
		b, err := io.ReadAll(io.LimitReader(in, wire.MaxMessageBytes+1))
		if err != nil {
			return wire.SignRequest{}, fmt.Errorf("read the input: %w", err)
		}
		if len(b) > wire.MaxMessageBytes {
			return wire.SignRequest{}, wire.Errorf(wire.TooLarge, "the message has more than %d bytes, and this key or format signs messages, not digests", wire.MaxMessageBytes).
				WithHint("hash it yourself and sign the hash, or use a key with another algorithm")
		}
		return wire.SignRequest{Message: b}, nil
	}
	if _, err := io.Copy(h, in); err != nil {
		return wire.SignRequest{}, fmt.Errorf("read the input: %w", err)
	}
	return wire.SignRequest{Digest: h.Sum(nil), Hash: alg.Hash()}, nil
}

// digestOf reads a digest in bytes, or in hex as sha256sum prints it.
func digestOf(in io.Reader, want lifecycle.Hash) (wire.SignRequest, error) {
	b, err := io.ReadAll(io.LimitReader(in, 1024))
	if err != nil {
		return wire.SignRequest{}, fmt.Errorf("read the digest: %w", err)
	}
	if word, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte(" ")); len(word) == 64 || len(word) == 96 {
		if raw, err := hex.DecodeString(string(word)); err == nil {
			b = raw
		}
	}
	if want == "" { // the algorithm is not known here
		if want = lifecycle.SHA256; len(b) == lifecycle.SHA384.Size() {
			want = lifecycle.SHA384
		}
	}
	if len(b) != want.Size() {
		return wire.SignRequest{}, wire.Errorf(wire.BadDigest, "the digest has %d bytes, %s has %d", len(b), want, want.Size())
	}
	return wire.SignRequest{Digest: b, Hash: want}, nil
}
