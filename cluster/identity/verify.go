package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// VerifyNode is a client's check of a server: the certificate chains to the
// bundle, may serve, and names a node of the cluster by its own key. The host name
// plays no part: every node of the cluster is as good as another, and addresses
// change. cluster may be "" when only the bundle is known.
func (b *Bundle) VerifyNode(chain []*x509.Certificate, cluster string, now time.Time) (lifecycle.NodeID, error) {
	s, err := b.verify(chain, cluster, Node, x509.ExtKeyUsageServerAuth, now)
	return lifecycle.NodeID(s.Name), err
}

// VerifyPrincipal is a server's check of a caller: the principal's name and the
// SPKI hash that must be registered for it. The name alone authenticates nobody.
func (b *Bundle) VerifyPrincipal(chain []*x509.Certificate, cluster string, now time.Time) (name, spki string, err error) {
	s, err := b.verify(chain, cluster, Principal, x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return "", "", err
	}
	return s.Name, SPKIHashOf(chain[0]), nil
}

func (b *Bundle) verify(chain []*x509.Certificate, cluster string, kind Kind, usage x509.ExtKeyUsage, now time.Time) (Subject, error) {
	if len(chain) == 0 {
		return Subject{}, fmt.Errorf("%w: there is none", ErrUntrusted)
	}
	leaf := chain[0]
	// Intermediates are deliberately ignored: every leaf is issued by a CA instance.
	_, err := leaf.Verify(x509.VerifyOptions{Roots: b.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Subject{}, fmt.Errorf("%w: it is valid from %s to %s and it is %s here", ErrExpired,
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case err != nil:
		return Subject{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	s, err := SubjectOf(leaf)
	if err != nil {
		return Subject{}, err
	}
	if s.Kind != kind {
		return Subject{}, fmt.Errorf("%w: it names a %s where a %s is needed", ErrSubject, s.Kind, kind)
	}
	if cluster != "" && s.Cluster != cluster {
		return Subject{}, fmt.Errorf("%w: it is of cluster %s and this is %s", ErrUntrusted, s.Cluster, cluster)
	}
	return s, nil
}

// ClientTLS is the configuration of a client that trusts the bundle. certificate
// is nil for a caller with a bearer token or none.
func (b *Bundle) ClientTLS(cluster string, certificate *tls.Certificate, now func() time.Time) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Replaces the host name check by the stricter one below; it runs on
		// resumed connections too.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := b.VerifyNode(cs.PeerCertificates, cluster, now())
			return err
		},
	}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return config
}

// RenewAt is half way through a certificate's life: early enough that days of
// failing renewals pass before anything expires.
func RenewAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) / 2)
}

// RenewalDue reports whether to renew now. A certificate from the future is due as
// well: it was made under a wrong clock and nobody accepts it yet.
func RenewalDue(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(RenewAt(cert.NotBefore, cert.NotAfter)) || now.Before(cert.NotBefore)
}
