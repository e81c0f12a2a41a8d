package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// renewer keeps one certificate file at a certificate that lives. What fails is tried
// again for as long as the certificate does; only its end and its revocation end the loop.
// It is for one goroutine.
type renewer struct {
	file  string
	share float64 // of the certificate's life after which it is renewed

	load   func() (*x509.Certificate, error)
	renew  func(ctx context.Context, cert *x509.Certificate, requestID string) (*wire.IssuedCertificate, error) // the file is written when it returns
	loaded func(context.Context) error                                                                          // makes the server load the file
	newID  func() string
	now    func() time.Time
	sleep  func(context.Context, time.Duration) // returns early when the context ends
	random func() float64                       // in [0, 1)
	log    *slog.Logger

	serial string        // of the certificate that delay was drawn for
	delay  time.Duration // so that not all servers come at once
	id     string        // of the request that may have been carried out
	drawn  time.Time     // when id was
	fails  int           // in a row
	stale  bool          // the server has not loaded the file
}

const (
	lookEvery    = time.Minute     // clocks are set and machines sleep: a long wait is made of short ones
	firstBackoff = time.Second     // doubled with each failure
	lastBackoff  = 5 * time.Minute // an unreachable cluster is asked no less often
	// sameRequest is how long a failed request is repeated under its id. A certificate
	// that was announced and not recorded is revoked after 10 minutes: a repetition would
	// be told of that one's revocation for ever.
	sameRequest = 5 * time.Minute
	spread      = 0.05 // of the life after the share is over, over which renewals are spread
)

// run goes on until the context ends, and returns nil then. The server is made to load
// the file at the start too: an end of this program may have come in between.
func (r *renewer) run(ctx context.Context) error {
	r.stale = true
	for ctx.Err() == nil {
		wait, err := r.step(ctx)
		if err != nil {
			return err
		}
		r.sleep(ctx, wait)
	}
	return nil
}

// step does what is due and says how long to wait. Its error ends the loop.
func (r *renewer) step(ctx context.Context) (time.Duration, error) {
	cert, err := r.load()
	if err != nil {
		return r.failed("read the certificate; it is tried again", err, lastBackoff), nil
	}
	now := r.now()
	left := cert.NotAfter.Sub(now)
	if left <= 0 {
		return 0, &wire.Error{Code: wire.CertificateExpired, Message: fmt.Sprintf("%s: the certificate ended at %s and can no longer ask for itself", r.file, cert.NotAfter.UTC().Format(time.RFC3339)),
			Hint: "make a new one: chancery cert issue"}
	}
	wait := lookEvery
	if r.stale {
		if err := r.loaded(ctx); err != nil { // no reason to let the certificate end
			wait = r.failed("the server has not loaded the certificate; it is tried again", err, left/4)
		} else {
			r.stale, r.fails = false, 0
		}
	}
	if early := r.due(cert).Sub(now); early > 0 {
		return min(wait, early), nil
	}
	return r.renewNow(ctx, cert, left)
}

func (r *renewer) renewNow(ctx context.Context, cert *x509.Certificate, left time.Duration) (time.Duration, error) {
	fresh := r.id == "" || r.now().Sub(r.drawn) > sameRequest
	if fresh {
		r.id, r.drawn = r.newID(), r.now()
	}
	issued, err := r.renew(ctx, cert, r.id)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return 0, nil //nolint:nilerr // told to stop: the next start goes on
	case wire.CodeOf(err) == wire.CertificateRevoked && fresh:
		return 0, fmt.Errorf("renew %s: %w", r.file, err)
	default:
		if refusedForGood(err) {
			r.id = "" // the id would be told the same again
		}
		return r.failed("renew the certificate; it is tried again", err, left/4), nil
	}
	r.id, r.stale = "", true
	if !issued.NotAfter.Time().After(cert.NotAfter) {
		return r.failed("the new certificate ends no later than the old one", errors.New("look at the issuer's CA certificate and at --ttl"), left/4), nil
	}
	r.fails = 0
	r.log.Info("renewed", "file", r.file, "serial", issued.Serial, "not_after", issued.NotAfter.String(), "node", issued.Node)
	return 0, nil
}

// due is when the certificate is to be renewed: a little later than its share says.
func (r *renewer) due(cert *x509.Certificate) time.Time {
	if serial := cert.SerialNumber.String(); serial != r.serial {
		life := cert.NotAfter.Sub(bornAt(cert))
		r.serial, r.delay = serial, time.Duration(r.random()*min(spread, (1-r.share)/2)*float64(life))
	}
	return dueAt(cert, r.share).Add(r.delay)
}

// failed logs a failure and says how long to wait: longer each time, but not longer than
// most.
func (r *renewer) failed(what string, err error, most time.Duration) time.Duration {
	wait := min(firstBackoff<<min(r.fails, 20), lastBackoff, max(most, firstBackoff))
	r.fails++
	wait = time.Duration((0.5 + 0.5*r.random()) * float64(wait))
	r.log.Warn(what, "file", r.file, "err", err, "again_in", wait.Round(time.Millisecond))
	return wait
}

// bornAt is when a certificate was made. Its NotBefore lies earlier, for the sake of
// clocks that are behind; its serial tells.
func bornAt(cert *x509.Certificate) time.Time {
	if serial, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes()); ok {
		if at := time.UnixMilli(int64(serial.At())); at.After(cert.NotBefore) && at.Before(cert.NotAfter) {
			return at
		}
	}
	return cert.NotBefore
}

func dueAt(cert *x509.Certificate, share float64) time.Time {
	born := bornAt(cert)
	return born.Add(time.Duration(share * float64(cert.NotAfter.Sub(born))))
}

// parseShare reads a share of a life: 2/3, 0.5 or 70%.
func parseShare(text string) (float64, error) {
	number, unit, percent := text, 1.0, false
	if number, percent = strings.CutSuffix(text, "%"); percent {
		unit = 100
	}
	if above, below, ok := strings.Cut(text, "/"); ok && !percent {
		n, err := strconv.ParseFloat(below, 64)
		if err != nil {
			return 0, usagef("--renew-at %q: write it like 2/3, 0.5 or 70%%", text)
		}
		number, unit = above, n
	}
	n, err := strconv.ParseFloat(number, 64)
	if share := n / unit; err == nil && share >= 0.01 && share <= 0.95 {
		return share, nil
	}
	return 0, usagef("--renew-at %q: write it like 2/3, 0.5 or 70%%, between 1%% and 95%%", text)
}

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// maxShown bounds in bytes what is shown of a failed command's output.
const maxShown = 500

// execute runs a command of words, none for no command. A request to stop does not end
// it: half of a reload is worse than a late end.
func execute(ctx context.Context, words []string, within time.Duration, env ...string) error {
	if len(words) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second // what it has started may hold its output open
	var printed headBuffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("--exec: %s did not end within %s", words[0], within)
	case errors.As(err, &exit):
		return fmt.Errorf("--exec: %s ended with exit code %d: %s", words[0], exit.ExitCode(), plain(string(bytes.TrimSpace(printed.kept))))
	case err != nil:
		return fmt.Errorf("--exec: %w", err)
	}
	return nil
}

// headBuffer keeps the first bytes of an output of any length.
type headBuffer struct{ kept []byte }

func (h *headBuffer) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(len(b), maxShown-len(h.kept))]...)
	return len(b), nil
}

// splitWords splits a command into words. Quotes and backslashes keep blanks together,
// as in a shell; nothing else means anything.
func splitWords(line string) (words []string, err error) {
	var word []rune
	var quote rune
	begun, escaped := false, false
	for _, c := range line {
		switch {
		case escaped:
			word, escaped = append(word, c), false
		case c == '\\' && quote != '\'':
			begun, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			begun, quote = true, c
		case quote == 0 && strings.ContainsRune(" \t\n", c):
			if begun {
				words, word, begun = append(words, string(word)), nil, false
			}
		default:
			word, begun = append(word, c), true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if begun {
		words = append(words, string(word))
	}
	return words, nil
}
