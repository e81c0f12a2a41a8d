package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Kind tells the certificates of nodes, of principals and of status keys apart. They
// never mix: a node is not a caller of the API, a principal does not speak to peers,
// and a status key does neither.
type Kind string

const (
	Node      Kind = "node"
	Principal Kind = "principal"
	Status    Kind = "status"
)

// Subject is whom a certificate is about, as its one URI SAN says:
// chancery://<cluster>/node/<node id>, chancery://<cluster>/principal/<name>, or
// chancery://<cluster>/status/<node id> for the node's status key.
type Subject struct {
	Cluster string // 32 lower-case hex digits
	Kind    Kind
	Name    string // node id or principal name
}

const scheme = "chancery"

// String is the URI.
func (s Subject) String() string {
	return scheme + "://" + s.Cluster + "/" + string(s.Kind) + "/" + s.Name
}

func (s Subject) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: s.Cluster, Path: "/" + string(s.Kind) + "/" + s.Name}
}

// Check validates each part.
func (s Subject) Check() error {
	if err := CheckCluster(s.Cluster); err != nil {
		return err
	}
	switch s.Kind {
	case Node, Status:
		return lifecycle.CheckNodeID(lifecycle.NodeID(s.Name))
	case Principal:
		return lifecycle.CheckName("principal", s.Name)
	}
	return fmt.Errorf("kind %q is neither node, principal nor status", string(s.Kind))
}

// CheckCluster validates a cluster id: 128 bits in lower-case hex.
func CheckCluster(id string) error {
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Errorf("cluster id %q is not 32 lower-case hex digits", id)
	}
	return nil
}

// ParseSubject reads a URI. There is one spelling: no escapes, port, user, query,
// fragment, empty segment or upper case, so that two certificates that compare
// unequal name different subjects.
func ParseSubject(uri string) (Subject, error) {
	rest, ok := strings.CutPrefix(uri, scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Subject{}, fmt.Errorf("%w: %q is not chancery://<cluster>/node|principal|status/<name>", ErrSubject, uri)
	}
	s := Subject{Cluster: parts[0], Kind: Kind(parts[1]), Name: parts[2]}
	if err := s.Check(); err != nil {
		return Subject{}, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	return s, nil
}

// SubjectOf reads the subject of a certificate, which must hold exactly one URI
// SAN. A node's must name the certificate's own key.
func SubjectOf(cert *x509.Certificate) (Subject, error) {
	if len(cert.URIs) != 1 {
		return Subject{}, fmt.Errorf("%w: it has %d URIs and must have one", ErrSubject, len(cert.URIs))
	}
	s, err := ParseSubject(cert.URIs[0].String())
	if err != nil {
		return Subject{}, err
	}
	if s.Kind == Node && s.Name != SPKIHashOf(cert) {
		return Subject{}, fmt.Errorf("%w: it names node %s", ErrMismatch, lifecycle.NodeID(s.Name).Short())
	}
	return s, nil
}
