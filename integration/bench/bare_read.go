//go:build linux && cgo

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

// rateOf is load.rate in the form that alternate takes.
func rateOf(l *load, d time.Duration, _ int) (float64, error) { return l.rate(d) }

// bareRead sends one answer from a file, header lines and body, whatever is asked; with
// "sign" it makes a P-256 signature before each, and sends the same answer.
func bareRead(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: bare-read FILE [tls|sign]")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close() // read only
	answer, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	answer.Header.Del("Date") // the server's own
	sign := func() error { return nil }
	if slices.Contains(args[1:], "sign") {
		if sign, err = softSigner(); err != nil {
			return err
		}
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := sign(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		own := w.Header()
		for name, values := range answer.Header {
			own[name] = values
		}
		_, _ = w.Write(body) // the caller has gone
	})
	return serveBare(h, slices.Contains(args[1:], "tls"))
}

// softSigner makes signatures as the software store and a responder do.
func softSigner() (func() error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	digest := sha256.Sum256(nil)
	return func() error { _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); return err }, nil
}
