package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// slowReader is a connection whose write deadline can be looked at.
type slowReader struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (s *slowReader) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }

// TestWriteDeadline: whoever reads slowly gets a signature until its request is too
// old, and not a moment longer, on each endpoint that signs.
func TestWriteDeadline(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.create(wire.CreateKey{Name: "ci-tokens", Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Owner: "o", BusinessReason: "r"})
	n.create(wire.CreateKey{Name: "ci-jws", Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Owner: "o", BusinessReason: "r", Policy: json.RawMessage(`{"inputs":["jws"]}`)})
	for name, c := range map[string]struct {
		path string
		body any
	}{
		"sign":  {wire.Path(wire.PathSign, "ci"), wire.SignRequest{Message: []byte("x")}},
		"batch": {wire.Path(wire.PathSign, "ci"), wire.SignRequest{Items: []wire.SignItem{{Message: []byte("x")}, {Message: []byte("y")}}}},
		"jws":   {wire.Path(wire.PathSign, "ci-jws"), wire.SignRequest{Message: []byte("x"), Format: wire.FormatJWS}},
		"jwt":   {wire.Path(wire.PathJWT, "ci-tokens"), wire.JWTRequest{Claims: json.RawMessage(`{"sub":"s"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(c.body)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() (*slowReader, *http.Request) {
				r := httptest.NewRequest("POST", c.path, bytes.NewReader(body))
				r.Header.Set("Content-Type", wire.TypeJSON)
				r.Header.Set("Authorization", "Bearer "+secrets["signer"])
				return &slowReader{ResponseRecorder: httptest.NewRecorder()}, r
			}
			w, r := ask()
			before := time.Now()
			n.api.Handler().ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if w.deadline.After(time.Now().Add(time.Minute)) || w.deadline.Before(before.Add(time.Minute-time.Since(before))) {
				t.Errorf("the write deadline is %s after the request arrived, want %s", w.deadline.Sub(before), time.Minute)
			}
		})
	}
}

// stopping is a journal that lets time pass when a release is recorded, which is
// between the gate and the connection.
type stopping struct {
	signing.Journal
	stop func()
}

func (s *stopping) AppendAsync(r audit.Record) error {
	if r.Kind == audit.SignReleased {
		s.stop()
	}
	return s.Journal.AppendAsync(r)
}

// TestStoppedBehindTheGate freezes the process after the gate for longer than the
// age limit: the connection breaks and no byte of the answer is sent.
func TestStoppedBehindTheGate(t *testing.T) {
	var frozen time.Duration
	n := start(t, func(c *Config) { c.Signer.Audit = &stopping{c.Signer.Audit, func() { frozen = time.Hour }} })
	n.create(createCI)
	real := n.elapsed
	n.elapsed = func() time.Duration { return real() + frozen }
	body, err := json.Marshal(wire.SignRequest{Message: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", n.server.URL+wire.Path(wire.PathSign, "ci"), io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.TypeJSON)
	req.Header.Set("Authorization", "Bearer "+secrets["signer"])
	resp, err := n.client().Do(req)
	if err == nil {
		t.Fatalf("answered with %d", resp.StatusCode)
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the connection broke with %v, want EOF", err)
	}
	if n.signer.Expired.Load() != 1 {
		t.Errorf("%d expired signatures counted, want 1", n.signer.Expired.Load())
	}
}
