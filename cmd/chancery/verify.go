package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func verifyCommand() *cli.Command {
	return looking("verify", "KEY", "check a signature against the trust set of a key", verify,
		&cli.StringFlag{Name: "in", Usage: "the file that was signed, - for stdin"},
		&cli.StringFlag{Name: "sig", Usage: "the signature: DER, raw, base64, a detached JWS or a bundle"},
		&cli.BoolFlag{Name: "digest", Usage: "the input is a digest already"},
		&cli.StringFlag{Name: "kid", Usage: "only this instance may have signed; 8 characters will do"},
		&cli.BoolFlag{Name: "offline", Usage: "ask nobody: needs --jwks"},
		&cli.StringFlag{Name: "jwks", Usage: "file with the trust set, as served or by key export --format jwks"},
		publicFlag(),
	)
}

func verify(s *session) error {
	if s.String("in") == "" || s.String("sig") == "" {
		return usagef("chancery verify needs --in FILE and --sig FILE")
	}
	if s.Bool("offline") != (s.String("jwks") != "") {
		return usagef("--offline and --jwks FILE go together")
	}
	sig, err := readSignature(s)
	if err != nil {
		return err
	}
	if s.Bool("offline") {
		return verifyOffline(s, sig)
	}
	return verifyOnline(s, sig)
}

// signature is a signature file in whatever form it has.
type signature struct {
	bytes []byte
	jws   string
	kid   string
}

// readSignature tells the forms apart: a bundle is a JSON object, a detached JWS
// has "..", base64 is text, and everything else is the signature itself.
func readSignature(s *session) (signature, error) {
	b, err := s.read(s.String("sig"), wire.MaxSignBytes)
	if err != nil {
		return signature{}, err
	}
	text := bytes.TrimSpace(b)
	if len(text) == 0 {
		return signature{}, failedf("not valid: %s is empty", s.String("sig"))
	}
	if bytes.HasPrefix(text, []byte("{")) {
		var bundle signatureBundle
		if err := json.Unmarshal(text, &bundle); err == nil && bundle.Signature != nil {
			return signature{bundle.Signature.Signature, bundle.Signature.JWS, firstOf(s.String("kid"), bundle.Signature.KID)}, nil
		}
	}
	sig := signature{bytes: b, kid: s.String("kid")}
	if bytes.Contains(text, []byte("..")) && bytes.HasPrefix(text, []byte("ey")) {
		sig.jws = string(text)
	} else if raw, err := base64.StdEncoding.Strict().DecodeString(string(text)); err == nil {
		sig.bytes = raw
	}
	return sig, nil
}

// formatsToTry: the file does not say whether it is DER or r||s, and each fails
// as the other.
var formatsToTry = []string{wire.FormatDER, wire.FormatRaw}

func verifyOffline(s *session, sig signature) error {
	set, err := readKeySet(s, s.String("jwks"))
	if err != nil {
		return err
	}
	kid, err := offlineKID(s, set, sig)
	if err != nil && !errors.Is(err, client.ErrSignature) {
		return err
	}
	r := offlineResult{Valid: err == nil, Key: s.arg(0), KID: wire.Text(kid)}
	v := view{names: []string{kid}}
	v.pair("signature", validWord(r.Valid))
	v.pair("key", r.Key)
	v.pair("kid", kid)
	if err != nil {
		r.Why = wire.Text(err.Error())
		v.value = r
		return errors.Join(s.show(v), failedf("the signature is not good: %v", err))
	}
	v.value = r
	v.pair("note", "this trust set was not checked for age: a key may have been revoked since")
	return s.show(v)
}

// offlineResult says less than wire.Verification, because a file knows less.
type offlineResult struct {
	Valid bool      `json:"valid"`
	Key   string    `json:"key"`
	KID   wire.Text `json:"kid"`
	Why   wire.Text `json:"why"`
}

func validWord(valid bool) string {
	if valid {
		return "valid"
	}
	return "NOT VALID"
}

func offlineKID(s *session, set *client.KeySet, sig signature) (string, error) {
	if sig.jws != "" {
		message, err := s.read(s.String("in"), wire.MaxMessageBytes)
		if err != nil {
			return "", err
		}
		return set.VerifyJWS(sig.jws, message)
	}
	in, err := s.open(s.String("in"))
	if err != nil {
		return "", err
	}
	defer in.Close()
	if s.Bool("digest") {
		req, err := digestOf(in, "")
		if err != nil {
			return "", err
		}
		for _, f := range formatsToTry {
			if kid, err := set.VerifyDigest(req.Hash, req.Digest, sig.bytes, f, sig.kid); err == nil {
				return kid, nil
			}
		}
		return "", client.ErrSignature
	}
	return set.VerifyAny(in, sig.bytes, sig.kid)
}

func readKeySet(s *session, file string) (*client.KeySet, error) {
	b, err := s.read(file, wire.MaxAdminBytes)
	if err != nil {
		return nil, err
	}
	return client.ParseKeySet(b)
}

func verifyOnline(s *session, sig signature) error {
	in, err := s.open(s.String("in"))
	if err != nil {
		return err
	}
	defer in.Close()
	c, err := s.client()
	if err != nil {
		return err
	}
	k, err := c.Key(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	// Whether something is a canary is seen in its text, not in its digest.
	text := bufio.NewReader(in)
	all, short := text.Peek(signing.MaxCanaryBytes)
	canary := errors.Is(short, io.EOF) && bytes.HasPrefix(all, []byte(signing.CanaryDomain)) && !s.Bool("digest")
	input, err := inputOf(text, k.Alg, s.Bool("digest"), canary || sig.jws != "")
	if err != nil {
		return err
	}
	req := wire.VerifyRequest{Message: input.Message, Digest: input.Digest, Hash: input.Hash, KID: sig.kid}
	if req.Token = sig.jws; sig.jws == "" {
		req.Signature = sig.bytes
	}
	var result *wire.Verification
	for _, f := range formatsToTry {
		if req.Format = f; sig.jws != "" {
			req.Format = ""
		}
		if result, err = c.Verify(s.ctx, s.arg(0), req); err != nil {
			return err
		}
		if result.State != "" || sig.jws != "" || k.Alg != "ES256" && k.Alg != "ES384" {
			break
		}
	}
	return verdict(s, result)
}

// verdict prints a verification and makes a bad one exit code 5.
func verdict(s *session, r *wire.Verification) error {
	signedBy, err := confirm(s, r)
	if err != nil {
		return err
	}
	if r.Valid {
		return showVerification(s, r, signedBy)
	}
	return errors.Join(showVerification(s, r, signedBy), failedf("not valid: %s", firstOf(string(r.Why), r.Status)))
}

// confirm asks for a signed status of the kid where public listeners are known: what
// the API says is as good as the connection, this can be verified. It names the node
// that signed, "" when nobody was asked.
func confirm(s *session, r *wire.Verification) (signedBy string, err error) {
	if !r.Valid || len(s.publics()) == 0 || s.profile.CA == "" {
		return "", nil
	}
	c, err := s.client()
	if err != nil {
		return "", err
	}
	status, err := c.KIDStatus(s.ctx, string(r.KID))
	if err != nil {
		return "", unverified(err)
	}
	if r.Status = status.Status; !status.Good() {
		r.Valid, r.Why = false, wire.Text("the key's signed status is "+status.Status)
	}
	return status.Node, nil
}

func showVerification(s *session, r *wire.Verification, signedBy string) error {
	v := view{value: r, names: []string{string(r.KID)}}
	v.pair("signature", validWord(r.Valid))
	v.pair("key", r.Key)
	v.pair("version", number(r.Version))
	v.pair("kid", string(r.KID))
	v.pair("node", string(r.Node))
	v.pair("state", string(r.State))
	if signedBy == "" {
		v.pair("status", r.Status)
	} else {
		v.pair("status", fmt.Sprintf("%s (signed by %s, verified)", r.Status, signedBy))
	}
	v.pair("why", string(r.Why))
	if r.Record != nil {
		v.pair("record", recordLine(r.Record))
	}
	if r.Canary != nil {
		v.pair("canary for", fmt.Sprintf("%s, instance %s", r.Canary.Consumer, r.Canary.Instance))
	}
	if len(r.Claims) > 0 {
		v.pair("claims", string(r.Claims))
	}
	if r.AsOf != 0 {
		v.pair("as of", fmt.Sprintf("%s (%s)", r.AsOf, r.Freshness))
	}
	return s.show(v)
}

// recordLine says in words where a strict signature stands in the log.
func recordLine(r *wire.SignatureRecord) string {
	switch r.State {
	case wire.SignatureRecorded:
		line := fmt.Sprintf("entry %d, %s", r.Index, r.At)
		if r.By != "" {
			line += fmt.Sprintf(", asked for by %s (request %s)", r.By, r.RequestID)
		}
		if r.Stands != "" {
			line += fmt.Sprintf(": %s the key was compromised (%s)", r.Stands, r.CompromisedSince)
		}
		if r.Why != "" {
			line += "; " + string(r.Why)
		}
		return line
	case wire.SignatureNotRecorded:
		if r.Why != "" {
			return "not recorded: " + string(r.Why)
		}
		return "NOT RECORDED: this cluster did not release it"
	}
	return "unknown: " + string(r.Why)
}
