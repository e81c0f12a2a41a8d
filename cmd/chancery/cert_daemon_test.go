package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// upkeep is a renewer in a world of its own: time passes only while it sleeps.
type upkeep struct {
	*renewer
	t       *testing.T
	at      time.Time
	end     time.Time // the loop is told to stop then
	cert    *x509.Certificate
	ttl     time.Duration
	renewed []time.Time
	ids     []string
	reloads int
	answer  func() error // of a renewal; nil = it is issued
	reload  func() error
}

func newUpkeep(t *testing.T, ttl time.Duration, share float64) *upkeep {
	u := &upkeep{t: t, at: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), ttl: ttl}
	u.cert, u.end = u.issue(), u.at.Add(10*ttl)
	n := 0
	u.renewer = &renewer{file: "a.pem", share: share, log: slog.New(slog.DiscardHandler),
		load:   func() (*x509.Certificate, error) { return u.cert, nil },
		now:    func() time.Time { return u.at },
		random: func() float64 { return 0.5 },
		newID:  func() string { n++; return fmt.Sprint(n) }}
	u.loaded = func(context.Context) error {
		u.reloads++
		if u.reload != nil {
			return u.reload()
		}
		return nil
	}
	u.renew = func(_ context.Context, cert *x509.Certificate, id string) (*wire.IssuedCertificate, error) {
		if u.at.After(cert.NotAfter) {
			t.Errorf("asked at %s with a certificate until %s", u.at, cert.NotAfter)
		}
		u.ids = append(u.ids, id)
		if u.answer != nil {
			if err := u.answer(); err != nil {
				return nil, err
			}
		}
		u.cert, u.renewed = u.issue(), append(u.renewed, u.at)
		return &wire.IssuedCertificate{Serial: "01", NotAfter: wire.AsTime(u.cert.NotAfter)}, nil
	}
	return u
}

func (u *upkeep) issue() *x509.Certificate {
	serial := lifecycle.NewSerial(lifecycle.Instant(u.at.UnixMilli()), [13]byte{})
	return &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial[:]), NotBefore: u.at.Add(-5 * time.Minute), NotAfter: u.at.Add(u.ttl)}
}

func (u *upkeep) live() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	looks := 0
	u.sleep = func(_ context.Context, d time.Duration) {
		if looks++; looks > 100_000 || d < 0 {
			u.t.Fatalf("look %d, sleep %s", looks, d)
		}
		if u.at = u.at.Add(max(d, time.Millisecond)); u.at.After(u.end) {
			stop()
		}
	}
	return u.run(ctx)
}

func TestRenewsInTime(t *testing.T) {
	u := newUpkeep(t, 24*time.Hour, 2.0/3)
	began := u.at
	if err := u.live(); err != nil {
		t.Fatal(err)
	}
	if n := len(u.renewed); n < 13 || n > 15 || u.reloads != n+1 || len(slices.Compact(u.ids)) != n {
		t.Errorf("%d renewals, %d reloads, ids %v", n, u.reloads, u.ids)
	}
	if first := u.renewed[0].Sub(began); first < 16*time.Hour || first > 18*time.Hour {
		t.Errorf("first renewal after %s", first)
	}
}

// TestRenewsWhatIsShort: the five minutes by which a certificate is back-dated are not
// part of its life.
func TestRenewsWhatIsShort(t *testing.T) {
	u := newUpkeep(t, time.Minute, 2.0/3)
	if err := u.live(); err != nil {
		t.Fatal(err)
	}
	if n := len(u.renewed); n < 12 || n > 15 {
		t.Errorf("%d renewals in ten lives", n)
	}
}

// TestRenewsAfterOutage: the same request for as long as it may be answered, and the end
// of the outage is noticed in time.
func TestRenewsAfterOutage(t *testing.T) {
	u := newUpkeep(t, 24*time.Hour, 2.0/3)
	back := u.at.Add(20 * time.Hour)
	u.end = u.at.Add(23 * time.Hour)
	u.answer = func() error {
		if u.at.Before(back) {
			return &client.OutcomeUnknown{RequestID: u.id, Err: errors.New("lost")}
		}
		return nil
	}
	if err := u.live(); err != nil {
		t.Fatal(err)
	}
	if len(u.renewed) != 1 || u.renewed[0].Sub(back) > lastBackoff {
		t.Errorf("renewed at %v, the cluster was back at %s", u.renewed, back)
	}
	if u.ids[0] != u.ids[1] || u.ids[0] == u.ids[len(u.ids)-1] || len(u.ids) > 100 {
		t.Errorf("%d attempts: %v", len(u.ids), u.ids)
	}
}

func TestRenewalEnds(t *testing.T) {
	revoked := wire.Errorf(wire.CertificateRevoked, "certificate 01 was revoked")
	for name, c := range map[string]struct {
		answers []error // the last one again and again
		want    wire.Code
		times   int
	}{
		"expired":                        {[]error{wire.Errorf(wire.Denied, "no")}, wire.CertificateExpired, 0},
		"revoked":                        {[]error{revoked}, wire.CertificateRevoked, 1},
		"what was announced was revoked": {[]error{&client.OutcomeUnknown{RequestID: "1", Err: errors.New("lost")}, revoked, revoked}, wire.CertificateRevoked, 3},
	} {
		u := newUpkeep(t, time.Hour, 0.5)
		u.answer = func() error { return c.answers[min(len(u.ids), len(c.answers))-1] }
		err := u.live()
		if wire.CodeOf(err) != c.want || describe(err).Exit != exitRefused || c.times > 0 && len(u.ids) != c.times {
			t.Errorf("%s: %v after %v", name, err, u.ids)
		}
		if name == "what was announced was revoked" && u.ids[2] == u.ids[1] {
			t.Errorf("%s: the request that is known as revoked came again: %v", name, u.ids)
		}
	}
}

// TestReloadIsTriedAgain: the server must not keep the old certificate until it ends.
func TestReloadIsTriedAgain(t *testing.T) {
	u := newUpkeep(t, time.Hour, 0.5)
	u.end = u.at.Add(50 * time.Minute)
	u.reload = func() error {
		if u.reloads == 1 || u.reloads > 4 {
			return nil
		}
		return errors.New("ended with exit code 1")
	}
	if err := u.live(); err != nil {
		t.Fatal(err)
	}
	if len(u.renewed) != 1 || u.reloads != 5 {
		t.Errorf("%d renewals, %d reloads", len(u.renewed), u.reloads)
	}
}

// TestRenewsThoughReloadFails: a server that is down, or a wrong command, must not let
// the certificate end.
func TestRenewsThoughReloadFails(t *testing.T) {
	u := newUpkeep(t, time.Hour, 0.5)
	u.reload = func() error { return errors.New("not running") }
	if err := u.live(); err != nil {
		t.Fatal(err)
	}
	if n := len(u.renewed); n < 15 || n > 20 || u.reloads < 10*12 {
		t.Errorf("%d renewals and %d reloads in ten lives", n, u.reloads)
	}
}

// TestNoProgress: a CA certificate that ends soon gives no longer life, however often it
// is asked.
func TestNoProgress(t *testing.T) {
	u := newUpkeep(t, time.Hour, 0.5)
	old := u.cert
	u.answer = func() error { u.ttl = old.NotAfter.Sub(u.at); return nil }
	if err := u.live(); wire.CodeOf(err) != wire.CertificateExpired || len(u.ids) > 100 {
		t.Errorf("%v after %d requests", err, len(u.ids))
	}
}

func TestParseShare(t *testing.T) {
	for text, want := range map[string]float64{"2/3": 2.0 / 3, "0.5": 0.5, "70%": 0.7} {
		if got, err := parseShare(text); err != nil || got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "1", "2", "-1/2", "1/0", "0/0", "NaN", "3/2", "2/3%", "half", "99%"} {
		if got, err := parseShare(text); err == nil {
			t.Errorf("%q = %v", text, got)
		}
	}
}

func TestExecute(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop() // a request to stop does not end it
	for line, want := range map[string]string{
		"":                                     "",
		"true":                                 "",
		`sh -c 'test "$X" = "1 2"'`:            "",
		`sh -c "echo no such server; exit 3"`:  "exit code 3: no such server",
		"sleep 60":                             "did not end within",
		"/nonexistent/program":                 "--exec:",
		"sh -c 'yes | head -c 100000; exit 1'": "exit code 1",
	} {
		words, err := splitWords(line)
		if err != nil {
			t.Fatal(err)
		}
		err = execute(ctx, words, 2*time.Second, "X=1 2")
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || len(err.Error()) > 2*maxShown) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                     nil,
		"  a  b ":              {"a", "b"},
		`a 'b  c' "d\"e" f\ g`: {"a", "b  c", `d"e`, "f g"},
		`'' a''b $x "$(y)"`:    {"", "ab", "$x", "$(y)"},
	} {
		if got, err := splitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	for _, line := range []string{`a 'b`, `a "b`, `a \`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%s: %q", line, got)
		}
	}
}
