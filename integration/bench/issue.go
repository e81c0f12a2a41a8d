//go:build linux && cgo

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// issue measures what a certificate costs all three nodes together, with its two entries
// in the log, its row with the whole certificate, and its lint.
func (b *bench) issue() error {
	w, err := b.startTown()
	if err != nil {
		return err
	}
	raw, err := newRawIssuer()
	if err != nil {
		return err
	}
	var rates, raws, shares []float64
	s := w.issuing(townCallers)
	if err := b.alternate([]*side{s}, func(l *load, d time.Duration, _ int) (float64, error) {
		first, err := w.index(b)
		if err != nil {
			return 0, err
		}
		before, err := w.cpu()
		if err != nil {
			return 0, err
		}
		n, took, err := l.run(d)
		if err != nil {
			return 0, err
		}
		after, err := w.cpu()
		if err != nil {
			return 0, err
		}
		last, err := w.index(b)
		shares = append(shares, 2*float64(n)/float64(max(last-first, 1)))
		rates = append(rates, float64(n)/took.Seconds())
		return float64((after - before).Microseconds()) / float64(max(n, 1)), err
	}, func() error {
		us, err := raw.cost(b.each)
		raws = append(raws, us)
		return err
	}); err != nil {
		return err
	}
	var made int
	syncs, entries, err := b.raftSyncs(w.cluster, func() error {
		l, err := newLoad(s.target, s.callers, s.request, s.further...)
		if err != nil {
			return err
		}
		defer l.close()
		l.seen = s.seen
		made, _, err = l.run(2 * time.Second)
		return err
	})
	if err != nil {
		return err
	}
	cost, bare := median(s.results), median(raws)
	b.table.atMost(fmt.Sprintf("issue, %d callers: CPU of three nodes a certificate", townCallers), cost, 700, "us",
		fmt.Sprintf("%.0f/s, %.1f in an entry; x509.CreateCertificate alone %.0f us: %.1f x", median(rates), median(shares), bare, cost/bare))
	b.table.atMost("issue: raft-store syncs of a shared entry and node", syncs, 2, "", fmt.Sprintf("%d certificates in %d entries, under strace", made, entries))
	return nil
}

// rawIssuer signs certificates like those of the cluster, with nothing around it.
type rawIssuer struct {
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

func newRawIssuer() (*rawIssuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "raw"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return &rawIssuer{ca, key}, err
}

// cost is the CPU of one certificate in microseconds.
func (r *rawIssuer) cost(d time.Duration) (float64, error) {
	t := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "host.bench.example.com"}, DNSNames: []string{"host.bench.example.com"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		OCSPServer: []string{"http://pki.example.com/ocsp"}, CRLDistributionPoints: []string{"http://pki.example.com/crl/town/kid.crl"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	n, before := 0, selfCPU()
	for start := time.Now(); time.Since(start) < d; n++ {
		if _, err := x509.CreateCertificate(rand.Reader, t, r.ca, &r.key.PublicKey, r.key); err != nil {
			return 0, err
		}
	}
	return float64((selfCPU() - before).Microseconds()) / float64(n), nil
}
