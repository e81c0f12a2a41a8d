//go:build linux && cgo

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// rateOf is load.rate in the form that alternate takes.
func rateOf(l *load, d time.Duration, _ int) (float64, error) { return l.rate(d) }

// bareRead sends one answer from a file, header lines and body, whatever is asked.
func bareRead(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: bare-read FILE [tls]")
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
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		own := w.Header()
		for name, values := range answer.Header {
			own[name] = values
		}
		_, _ = w.Write(body) // the caller has gone
	})
	return serveBare(h, len(args) > 1)
}
