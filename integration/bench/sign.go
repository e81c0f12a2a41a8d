//go:build linux && cgo

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

const (
	signers   = 32 // callers of single signatures
	batchers  = 8  // callers of batches
	batchSize = 64
	signNode  = 2
)

// sign measures what a signature costs the server.
func (b *bench) sign() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	for name, policy := range map[string]string{"sign-sampled": `{"verify_one_in":1000}`, "sign-each": `{"verify_one_in":1}`} {
		if err := c.key(b.ctx, name, policy); err != nil {
			return err
		}
	}
	bare, err := startYardstick(b.dir, "bare-sign")
	if err != nil {
		return err
	}
	defer bare.stop() //nolint:errcheck // it has said all it had to say
	raw, err := startYardstick(b.dir, "raw-sign")
	if err != nil {
		return err
	}
	defer raw.stop() //nolint:errcheck // as above
	pid, err := c.pid(signNode)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("bench"))
	text := base64.StdEncoding.EncodeToString(digest[:])
	one := fmt.Sprintf(`{"digest":%q,"hash":"SHA-256"}`, text)
	many := `{"items":[` + strings.TrimSuffix(strings.Repeat(one+",", batchSize), ",") + `]}`
	same := func(request []byte) func(int, int) []byte { return func(int, int) []byte { return request } }
	api, plain := c.api(signNode), &target{address: bare.ready, tls: insecure}
	sides := []*side{
		{name: "bare", target: plain, callers: signers, request: same(plain.request("POST", "/sign", one)), pid: bare.cmd.Process.Pid},
		{name: "sampled", target: api, callers: signers, request: same(api.request("POST", wire.Path(wire.PathSign, "sign-sampled"), one)), pid: pid, node: signNode},
		{name: "each", target: api, callers: signers, request: same(api.request("POST", wire.Path(wire.PathSign, "sign-each"), one)), pid: pid, node: signNode},
		{name: "batch", target: api, callers: batchers, request: same(api.request("POST", wire.Path(wire.PathSign, "sign-sampled"), many)), pid: pid, node: signNode},
	}
	var rawCosts [2][]float64 // in one session, and in as many as a node uses here
	if err := b.alternate(sides, (*load).cpu, func() error {
		for i := range rawCosts {
			us, err := raw.ask(fmt.Sprint(i+1, b.each.Milliseconds()))
			if err != nil {
				return err
			}
			rawCosts[i] = append(rawCosts[i], us)
		}
		return nil
	}); err != nil {
		return err
	}
	cost := func(i int) float64 { return median(sides[i].results) }
	alone, beside, note := median(rawCosts[0]), median(rawCosts[1]), "%.0f us of CPU against %.0f us"
	b.table.atMost("sign, verified 1 in 1000: CPU / bare TLS+JSON+crypto11", cost(1)/cost(0), 1.3, "x", fmt.Sprintf(note, cost(1), cost(0)))
	b.table.atMost("sign, each verified: CPU / bare TLS+JSON+crypto11", cost(2)/cost(0), 1.9, "x", fmt.Sprintf(note, cost(2), cost(0)))
	b.table.atMost("sign, batches of 64: CPU / raw C_Sign, 2 sessions each", cost(3)/batchSize/beside, 1.3, "x", fmt.Sprintf(note+"; raw in one session %.0f us", cost(3)/batchSize, beside, alone))
	return nil
}

// startYardstick starts a child with a SoftHSM token of its own.
func startYardstick(dir, role string) (*child, error) {
	dir = filepath.Join(dir, role)
	if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of a token: %w", err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := "directories.tokendir = " + filepath.Join(dir, "tokens") + "\nobjectstore.backend = file\nlog.level = ERROR\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration of a token: %w", err)
	}
	return startChild([]string{"SOFTHSM2_CONF=" + conf}, role)
}
