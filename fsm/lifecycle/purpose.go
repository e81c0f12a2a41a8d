package lifecycle

import "fmt"

// Purpose is what a key is for. One key, one purpose, one format: a key that
// signs tokens past a claims check never signs bytes a caller chose.
type Purpose string

const (
	ForCode        Purpose = "code"
	ForArtifact    Purpose = "artifact"
	ForToken       Purpose = "token"
	ForAssertion   Purpose = "assertion"
	ForCertificate Purpose = "certificate"
	ForStatus      Purpose = "status"
)

// Purposes lists every purpose.
var Purposes = []Purpose{ForCode, ForToken, ForAssertion, ForArtifact, ForCertificate, ForStatus}

// ParsePurpose accepts exactly the names in Purposes.
func ParsePurpose(s string) (Purpose, error) {
	for _, p := range Purposes {
		if string(p) == s {
			return p, nil
		}
	}
	if s == "" {
		return "", fmt.Errorf("no purpose: choose one of %v", Purposes)
	}
	return "", fmt.Errorf("unknown purpose %q: choose one of %v", s, Purposes)
}

// SignsBytes reports whether `sign` may be used: the other purposes sign only
// structures that Chancery builds and checks itself.
func (p Purpose) SignsBytes() bool { return p == ForCode || p == ForArtifact }

// SignsTokens reports whether `jwt sign` may be used.
func (p Purpose) SignsTokens() bool { return p == ForToken || p == ForAssertion }

// Custody says where a key's instances live.
type Custody string

const (
	Distributed Custody = "distributed" // one instance per signing node
	Singleton   Custody = "singleton"   // one named node
)

// ParseCustody accepts "distributed" (also "") and "singleton".
func ParseCustody(s string) (Custody, error) {
	switch Custody(s) {
	case "", Distributed:
		return Distributed, nil
	case Singleton:
		return Singleton, nil
	}
	return "", fmt.Errorf("unknown custody %q: choose distributed or singleton", s)
}
