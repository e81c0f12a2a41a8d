package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Limits of one attempt, each with its reason.
const (
	attemptTime    = 10 * time.Second // a receiver that works longer than this should answer first
	dialTime       = 5 * time.Second
	maxAnswerBytes = 4 << 10 // read so that the connection can be used again; nobody looks at them
)

// contentType of a compact JWS (RFC 7515, section 9.2.1).
const contentType = "application/jose"

// newClient makes the client of one webhook, which speaks to nobody else.
func newClient(w lifecycle.Webhook) (*http.Client, error) {
	u, err := parse(w.URL)
	if err != nil {
		return nil, err
	}
	pool, err := roots(w.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTime}
	if u.Scheme == "http" {
		dialer.Control = onlyHere
	}
	return &http.Client{
		Timeout: attemptTime,
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTime, MaxConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// onlyHere keeps a name from leading elsewhere, whatever it resolves to.
func onlyHere(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !here(host) {
		return fmt.Errorf("%s is not this machine, and http is for this machine only", address)
	}
	return nil
}

// post sends one event. Only an answer of 200 to 299 says that it arrived.
func post(ctx context.Context, c *http.Client, to, jws string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(jws))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "chancery")
	resp, err := c.Do(req)
	if err != nil {
		var what *url.Error // says the whole URL again, which may hold a secret of the receiver's
		if errors.As(err, &what) {
			err = what.Err
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes) // what it says is of no interest, only whether the connection lives on
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("it answered %d, and redirects are not followed: set the url it redirects to", resp.StatusCode)
	}
	return fmt.Errorf("it answered %d", resp.StatusCode)
}
