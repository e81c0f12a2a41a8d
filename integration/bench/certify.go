//go:build linux && cgo

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Certificates that are there to be revoked, and nothing else, need no signature: the
// leader enters them into the log as if they had been issued, hundreds in an entry, and
// to the state machine they are like any other.

// certifyBatch is how many share the two entries.
const certifyBatch = command.MaxIssueItems

// certifyInside enters certificates of an issuer, by each of its instances in turn, and
// answers their serials.
func certifyInside(r *http.Request, s *signing.Signer) (string, error) {
	n, err := strconv.Atoi(r.FormValue("count"))
	if err != nil {
		return "", err
	}
	cas := s.Ledger.View().CACerts(lifecycle.KeyID(r.FormValue("issuer")))
	if len(cas) == 0 {
		return "", errors.New("the issuer has no CA certificate")
	}
	var serials strings.Builder
	for turn := 0; n > 0; turn++ {
		step := min(n, certifyBatch)
		entered, err := certify(r.Context(), s.Ledger, cas[turn%len(cas)], step)
		if err != nil {
			return "", err
		}
		for _, serial := range entered {
			fmt.Fprintln(&serials, serial)
		}
		n -= step
	}
	return serials.String(), nil
}

// certify enters certificates of one instance.
func certify(ctx context.Context, l ledger.Ledger, ca *lifecycle.CACert, n int) (serials []lifecycle.Serial, err error) {
	now := lifecycle.Instant(time.Now().UnixMilli())
	from := now - now%1000
	announced, signed := &command.IssueIntents{Node: ca.Node}, &command.RecordIssued{Node: ca.Node}
	hash := func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	for range n {
		var random [13]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		serial := lifecycle.NewSerial(now, random)
		spki := fmt.Appendf([]byte{0x30, 89}, "%-89x", random) // as long as one of P-256
		der, tbs := fsmtest.Certificate(serial, spki, from, from.Add(30*lifecycle.Day))
		name := fmt.Sprintf("h%x.bench.example.com", random[:5])
		announced.Items = append(announced.Items, command.IssueItem{Serial: serial, Issuer: ca.Issuer, Version: ca.Version, KID: ca.KID, Profile: "server",
			ProfileHash: hash([]byte("server")), TBSHash: hash(tbs), SPKIHash: hash(spki), Subject: name, DNS: []string{name},
			NotBefore: from, NotAfter: from.Add(30 * lifecycle.Day), DeadlineAt: now.Add(lifecycle.Minute), Requester: benchCaller})
		signed.Items = append(signed.Items, command.IssuedItem{Serial: serial, DER: der})
		serials = append(serials, serial)
	}
	for _, body := range []command.Body{announced, signed} {
		o, err := l.Propose(ctx, &command.Command{Header: command.Header{At: now, Actor: "node:bench", Node: l.NodeID()}, Body: body})
		if err == nil {
			err = o.Err()
		}
		for _, g := range o.Groups {
			if g.Code != "" && err == nil {
				err = errors.New(g.Detail)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("enter certificates: %w", err)
		}
	}
	return serials, nil
}

// certified has the leader enter certificates that are there to be revoked.
func (w *town) certified(lead, n int) ([]string, error) {
	text, err := w.order(lead, "/certify", url.Values{"issuer": {townIssuer}, "count": {strconv.Itoa(n)}})
	return strings.Fields(text), err
}
