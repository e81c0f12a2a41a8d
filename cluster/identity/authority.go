package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Lifetimes. A leaf is short because nothing revokes it: a node is removed from
// the configuration, a principal's key from the state.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	LeafLifetime      = 7 * 24 * time.Hour

	// Backdate forgives clocks that are a little slow, at both ends of a handshake.
	Backdate = 5 * time.Minute
)

// Authority is one voter's CA instance. It never leaves the voter; clients get the
// Bundle of all voters' certificates.
type Authority struct {
	cert    *x509.Certificate
	private *ecdsa.PrivateKey
	cluster string
}

// NewAuthority makes a CA instance for a voter. Each instance has its own subject
// DN, because verifiers that look issuers up by name mix equal names up.
func NewAuthority(cluster string, node lifecycle.NodeID, now time.Time) (*Authority, error) {
	if err := CheckCluster(cluster); err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	if err := lifecycle.CheckNodeID(node); err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate CA key: %w", err)
	}
	key, err := SPKIHash(private.Public())
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(now),
		Subject:               pkix.Name{Organization: []string{"chancery " + cluster}, CommonName: "chancery node CA " + node.Short() + " " + key[:8]},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(AuthorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("create CA certificate: %w", err)
	}
	return newAuthority(cluster, der, private)
}

func newAuthority(cluster string, der []byte, private *ecdsa.PrivateKey) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse CA certificate: %w", err)
	}
	if err := checkAuthority(cert); err != nil {
		return nil, err
	}
	if !private.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("load CA: %w", ErrMismatch)
	}
	if org := cert.Subject.Organization; len(org) != 1 || org[0] != "chancery "+cluster {
		return nil, fmt.Errorf("load CA: %w: it belongs to %v, not to cluster %s", ErrUntrusted, org, cluster)
	}
	return &Authority{cert: cert, private: private, cluster: cluster}, nil
}

// Certificate is the CA certificate; treat it as read-only.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// IssueNode makes a node's certificate over its identity key. hosts are the DNS
// names and IP addresses under which clients reach it; they help tools that check
// host names, while our own clients check the URI.
func (a *Authority) IssueNode(public crypto.PublicKey, hosts []string, now time.Time) (*x509.Certificate, error) {
	id, err := SPKIHash(public)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, h := range hosts {
		if err := addHost(t, h); err != nil {
			return nil, err
		}
	}
	return a.issue(t, Subject{a.cluster, Node, id}, public, LeafLifetime, now)
}

// IssuePrincipal makes a client certificate that carries public for a principal.
// It grants nothing until the key's SPKI hash is registered in the state.
func (a *Authority) IssuePrincipal(name string, public crypto.PublicKey, lifetime time.Duration, now time.Time) (*x509.Certificate, error) {
	if lifetime <= 0 {
		return nil, fmt.Errorf("issue certificate for principal %s: lifetime %s is not positive", name, lifetime)
	}
	t := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return a.issue(t, Subject{a.cluster, Principal, name}, public, lifetime, now)
}

func (a *Authority) issue(t *x509.Certificate, s Subject, public crypto.PublicKey, lifetime time.Duration, now time.Time) (*x509.Certificate, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if now.After(a.cert.NotAfter) || now.Before(a.cert.NotBefore) {
		return nil, fmt.Errorf("issue certificate: CA %s: %w (valid %s to %s): check the clock; a CA instance of ten years that has really ended is replaced by a new node",
			a.cert.Subject.CommonName, ErrExpired, a.cert.NotBefore.Format(time.RFC3339), a.cert.NotAfter.Format(time.RFC3339))
	}
	t.SerialNumber = newSerial(now)
	t.Subject = pkix.Name{CommonName: string(s.Kind) + " " + s.Name[:min(len(s.Name), 48)]} // ub-common-name is 64
	t.NotBefore, t.NotAfter = now.Add(-Backdate), now.Add(lifetime)
	// A leaf that outlived its CA would be valid on paper and refused everywhere.
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if t.NotBefore.Before(a.cert.NotBefore) {
		t.NotBefore = a.cert.NotBefore
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.URIs = []*url.URL{s.uri()}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, public, a.private)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", s, err)
	}
	return x509.ParseCertificate(der)
}

// addHost takes "name", "ip", "name:port" or "[ip]:port".
func addHost(t *x509.Certificate, host string) error {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(host); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
		return nil
	}
	if !isDNSName(host) {
		return fmt.Errorf("advertised host %q is neither an IP address nor a DNS name: correct [advertise] in the configuration", host)
	}
	t.DNSNames = append(t.DNSNames, host)
	return nil
}

// isDNSName takes the letters-digits-hyphens form, without wildcards.
func isDNSName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		edge := label == 0 || i+1 == len(s) || s[i+1] == '.'
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-' && !edge:
			if label++; label > 63 {
				return false
			}
		case c == '.' && label > 0 && i+1 < len(s):
			label = 0
		default:
			return false
		}
	}
	return true
}

// newSerial is time-ordered: 0x01, 48 bits of unix milliseconds, 104 random bits;
// 20 octets and positive, as RFC 5280, section 4.1.2.2 allows at most.
func newSerial(now time.Time) *big.Int {
	var b [20]byte
	_, _ = rand.Read(b[7:]) // crypto/rand.Read never fails since Go 1.24: it aborts the process
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	b[0] = 0x01
	copy(b[1:7], ms[2:])
	return new(big.Int).SetBytes(b[:])
}
