package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func renewFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "write the new certificate and its CA certificates below the root here (PEM)", DefaultText: "FILE"},
		&cli.StringFlag{Name: "root-out", Usage: "write the root (PEM): what verifiers load"},
		durationFlag("ttl", "lifetime"),
		&cli.StringFlag{Name: "key-file", Usage: "its private key (PEM)"},
		&cli.StringFlag{Name: "renew-at", Usage: "only when this share of its life is over, as 2/3, 0.5 or 70%", DefaultText: "at once; with --daemon 2/3"},
		&cli.BoolFlag{Name: "daemon", Usage: "stay, and renew whenever it is time"},
		&cli.StringFlag{Name: "exec", Usage: "`COMMAND` that makes the server load the new file; words, quotes and no shell. With --daemon also at the start. CHANCERY_CERT_FILE names the file. When it failed, the next run repeats it"},
		&cli.DurationFlag{Name: "exec-timeout", Usage: "longest time for it", Value: 30 * time.Second},
	}
}

// renewCert renews once, or stays and renews whenever it is time.
func renewCert(s *session) error {
	r, err := s.renewer()
	if err != nil {
		return err
	}
	if s.Bool("daemon") {
		s.patient()
		return r.run(s.ctx)
	}
	cert, err := r.load()
	if err != nil {
		return err
	}
	d := debtOf(firstOf(s.String("out"), r.file))
	if due := dueAt(cert, r.share); s.IsSet("renew-at") && r.now().Before(due) {
		s.notef("%s: not before %s", r.file, due.UTC().Format(time.RFC3339))
		if s.String("exec") != "" && d.owed() {
			return d.settle(s.ctx, r.loaded)
		}
		return nil
	}
	if s.String("exec") != "" {
		if err := d.owe(); err != nil {
			return err
		}
	}
	issued, err := r.renew(s.ctx, cert, firstOf(s.givenRequestID(), client.NewRequestID()))
	if err != nil {
		return err
	}
	err = s.show(issuedView(issued))
	if s.String("exec") == "" {
		return err
	}
	return errors.Join(err, d.settle(s.ctx, r.loaded))
}

// renewer reads the flags of a renewal.
func (s *session) renewer() (*renewer, error) {
	file, words, err := s.arg(0), []string(nil), error(nil)
	switch {
	case s.String("key-file") == "":
		return nil, usagef("chancery cert renew needs --key-file FILE")
	case s.Bool("plan"):
		return nil, usagef("a renewal has no plan: chancery cert show %s says when it is due", file)
	case s.Bool("daemon") && s.givenRequestID() != "":
		return nil, usagef("--daemon makes many requests: it draws their ids itself")
	case s.Bool("daemon") && s.String("out") != "" && s.String("out") != file:
		return nil, usagef("--daemon keeps one file: leave --out out")
	case s.Duration("exec-timeout") <= 0:
		return nil, usagef("--exec-timeout is longer than 0")
	}
	out := firstOf(s.String("out"), file)
	if err := s.sparesKeys(out, s.String("root-out")); err != nil {
		return nil, err
	}
	if words, err = splitWords(s.String("exec")); err != nil {
		return nil, usagef("--exec: %v", err)
	}
	share, err := parseShare(firstOf(s.String("renew-at"), "2/3"))
	if err != nil {
		return nil, err
	}
	ttl, err := s.length("ttl")
	if err != nil {
		return nil, err
	}
	if _, err := s.client(); err != nil {
		return nil, err
	}
	r := &renewer{file: file, share: share, now: time.Now, sleep: pause, random: rand.Float64, newID: client.NewRequestID, log: slog.New(slog.NewTextHandler(s.err, nil))}
	r.load = func() (*x509.Certificate, error) { return s.certificateFile(file) }
	r.renew = func(ctx context.Context, cert *x509.Certificate, id string) (*wire.IssuedCertificate, error) {
		issued, err := s.successor(ctx, cert, ttl, id)
		if err != nil {
			return nil, err
		}
		return issued, s.writeIssued(out, issued)
	}
	r.loaded = func(ctx context.Context) error {
		return execute(ctx, words, s.Duration("exec-timeout"), "CHANCERY_CERT_FILE="+out)
	}
	return r, nil
}

// successor asks for the certificate after cert, with a proof by its own key. The same
// id asks for the same one.
func (s *session) successor(ctx context.Context, cert *x509.Certificate, ttl lifecycle.Milliseconds, id string) (*wire.IssuedCertificate, error) {
	key, err := s.privateKey(s.String("key-file"))
	if err != nil {
		return nil, err
	}
	csr, err := requestFor(key, "")
	if err != nil {
		return nil, err
	}
	serial, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes())
	if !ok {
		return nil, fmt.Errorf("certificate %x was not issued by Chancery", cert.SerialNumber)
	}
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	at := lifecycle.Instant(time.Now().UnixMilli())
	proof, err := prove(key, issuing.RenewalStatement(cert.Raw, id, at, csr))
	if err != nil {
		return nil, err
	}
	return c.RenewCertificate(ctx, serial.String(), wire.RenewCertificate{CSR: string(csr), At: wire.Time(at), Proof: proof, TTL: ttl}, client.WithRequestID(id))
}

// prove signs a statement with a private key, as the algorithm's usual form has it.
func prove(key crypto.Signer, statement []byte) ([]byte, error) {
	opts, in := crypto.SignerOpts(crypto.SHA256), signing.Digest(lifecycle.ES256, statement)
	switch k := key.Public().(type) {
	case ed25519.PublicKey:
		opts, in = crypto.Hash(0), statement
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			opts, in = crypto.SHA384, signing.Digest(lifecycle.ES384, statement)
		}
	}
	sig, err := key.Sign(cryptorand.Reader, in, opts)
	if err != nil {
		return nil, fmt.Errorf("prove possession of the key: %w", err)
	}
	return sig, nil
}
