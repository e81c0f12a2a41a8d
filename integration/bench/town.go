//go:build linux && cgo

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

const (
	townIssuer  = "town"
	townReady   = time.Minute
	townCallers = 32
	// townRequests are made in advance, each with a key of its own.
	townRequests = 4096
)

// town is a cluster with software key stores and an issuer, and the certificates that
// it has issued.
type town struct {
	*cluster
	bodies [][]byte // of requests to issue

	mu      sync.Mutex // owns what follows
	serials []string   // issued and not revoked yet
}

// startTown brings the cluster up, once a run, and waits until each node can issue,
// revoke and answer.
func (b *bench) startTown() (*town, error) {
	if b.town != nil {
		return b.town, nil
	}
	c, err := b.startCluster("town", "soft")
	if err != nil {
		return nil, err
	}
	b.town = &town{cluster: c}
	for _, is := range []wire.CreateIssuer{{Name: townIssuer + "-root", Kind: "root", Node: "n1"}, {Name: townIssuer, Kind: "issuing", Parent: townIssuer + "-root"}} {
		is.Owner, is.Reason = "bench@example.com", "measure"
		if _, err := c.client.CreateIssuer(b.ctx, is); err != nil {
			return nil, fmt.Errorf("make the issuer %s: %w", is.Name, err)
		}
	}
	if err := b.town.wait(b); err != nil {
		return nil, err
	}
	return b.town, b.town.prepare()
}

// wait until each instance has its CA certificate, a CRL and the responders.
func (w *town) wait(b *bench) error {
	for end := time.Now().Add(townReady); ; {
		ready := 0
		is, err := w.client.Issuer(b.ctx, townIssuer)
		if err == nil {
			for _, i := range is.Instances {
				if i.Subject != "" && i.CRLNumber > 0 && i.Responders == nodes {
					ready++
				}
			}
		}
		switch {
		case ready == nodes:
			return nil
		case time.Now().After(end) || b.ctx.Err() != nil:
			return errors.Join(fmt.Errorf("%d of %d instances can issue after %v", ready, nodes, townReady), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// prepare makes the requests: what a requester's key costs is not the servers' concern.
func (w *town) prepare() error {
	for i := range townRequests {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{fmt.Sprintf("host-%d.bench.example.com", i)}}, key)
		if err != nil {
			return err
		}
		body, err := json.Marshal(wire.IssueCertificate{Profile: "server", CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
		if err != nil {
			return err
		}
		w.bodies = append(w.bodies, body)
	}
	return nil
}

// issuing is a side whose callers issue certificates on all three nodes.
func (w *town) issuing(callers int) *side {
	var apis []*target
	for node := 1; node <= nodes; node++ {
		apis = append(apis, w.api(node))
	}
	path := wire.Path(wire.PathIssueCertificate, townIssuer)
	return &side{name: "issue", target: apis[0], further: apis[1:], callers: callers, node: 1, of: w.cluster,
		request: func(caller, turn int) []byte {
			return apis[caller%nodes].request("POST", path, string(w.bodies[(turn*callers+caller)%len(w.bodies)]))
		},
		seen: func(_ int, body []byte) { w.issued(body) }}
}

// issued remembers the serial in an answer.
func (w *town) issued(body []byte) {
	_, rest, _ := bytes.Cut(body, []byte(`"serial":"`))
	serial, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return // fewer to be revoked: take says so
	}
	w.mu.Lock()
	w.serials = append(w.serials, string(serial))
	w.mu.Unlock()
}

// take is a certificate that is not revoked yet; "" = there are no more.
func (w *town) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.serials) == 0 {
		return ""
	}
	serial := w.serials[0]
	w.serials = w.serials[1:]
	return serial
}

func (w *town) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.serials)
}

// stock issues until n certificates are there to be revoked.
func (w *town) stock(b *bench, n int) error {
	s := w.issuing(townCallers)
	l, err := newLoad(s.target, s.callers, s.request, s.further...)
	if err != nil {
		return err
	}
	defer l.close()
	l.seen = s.seen
	for w.left() < n {
		if _, _, err := l.run(time.Second); err != nil {
			return fmt.Errorf("issue in advance: %w", err)
		}
		b.say("%d of %d certificates issued in advance", w.left(), n)
	}
	return nil
}
