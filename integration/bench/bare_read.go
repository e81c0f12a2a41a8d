//go:build linux && cgo

package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// rateOf is load.rate in the form that alternate takes.
func rateOf(l *load, d time.Duration, _ int) (float64, error) { return l.rate(d) }

// bareRead serves one file's bytes from memory, whatever is asked.
func bareRead(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: bare-read FILE [tls]")
	}
	body, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	length := strconv.Itoa(len(body))
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body) // the caller has gone
	})
	return serveBare(h, len(args) > 1)
}
