package lifecycle

import "fmt"

// Role is what a principal may do with the keys its glob names.
type Role string

const (
	Admin        Role = "admin"
	Operator     Role = "operator"
	Approver     Role = "approver"
	Signer       Role = "signer"
	Auditor      Role = "auditor"
	ConsumerRole Role = "consumer"
)

// Roles lists every role.
var Roles = []Role{Admin, Operator, Approver, Signer, Auditor, ConsumerRole}

// Grant is a role on the keys whose name matches Keys: '*' stands for any run of
// characters, anything else for itself.
type Grant struct {
	Role Role   `cbor:"1,keyasint" json:"role"`
	Keys string `cbor:"2,keyasint" json:"keys"`
}

// ParseGrant reads "signer:ci-*"; "auditor" alone means "auditor:*".
func ParseGrant(s string) (Grant, error) {
	g := Grant{Role: Role(s), Keys: "*"}
	for i := 0; i < len(s); i++ {
		if s[i] == ':' {
			g.Role, g.Keys = Role(s[:i]), s[i+1:]
			break
		}
	}
	return g, g.Check()
}

// Check validates the grant.
func (g Grant) Check() error {
	known := false
	for _, r := range Roles {
		known = known || r == g.Role
	}
	if !known {
		return fmt.Errorf("unknown role %q: choose one of %v", string(g.Role), Roles)
	}
	if err := checkPattern("key-name", g.Keys); err != nil {
		return fmt.Errorf("role %s: %w, for example %s:ci-*", g.Role, err, g.Role)
	}
	return nil
}

// checkPattern validates a name in which '*' stands for any run of characters. what is
// the noun for the message.
func checkPattern(what, s string) error {
	if s == "" || len(s) > MaxNameBytes {
		return fmt.Errorf("a %s pattern has 1 to %d characters", what, MaxNameBytes)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '*') {
			return fmt.Errorf("%s pattern %q: use a-z, 0-9, '-' and '*'", what, s)
		}
	}
	return nil
}

func (g Grant) String() string { return string(g.Role) + ":" + g.Keys }

// Matches reports whether the pattern covers the key name.
func (g Grant) Matches(name KeyID) bool { return match(g.Keys, string(name)) }

// match is a linear-time glob of '*' alone: on a mismatch it goes back to the
// last star only, so that a pattern cannot make it slow.
func match(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p, i = p+1, i+1
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// PrincipalKind is person or service. Nodes are not principals: they have their
// own table and speak typed node verbs only.
type PrincipalKind string

const (
	Person  PrincipalKind = "person"
	Service PrincipalKind = "service"
)

// Principal is whoever calls.
type Principal struct {
	Rev       uint64        `cbor:"1,keyasint"`
	Name      string        `cbor:"2,keyasint"`
	Kind      PrincipalKind `cbor:"3,keyasint"`
	Grants    []Grant       `cbor:"4,keyasint,omitempty"`
	SSHKeys   []string      `cbor:"5,keyasint,omitempty"` // authorized_keys lines without options
	Certs     []string      `cbor:"6,keyasint,omitempty"` // hex SHA-256 of the SPKI of each accepted client certificate
	Created   Origin        `cbor:"7,keyasint"`
	RevokedAt Instant       `cbor:"8,keyasint,omitempty"`
	RevokedBy string        `cbor:"9,keyasint,omitempty"`
}

// Token is a bearer token; only the hash of its secret is ever stored.
type Token struct {
	Rev       uint64  `cbor:"1,keyasint"`
	ID        string  `cbor:"2,keyasint"` // public id, shown by token list
	Principal string  `cbor:"3,keyasint"`
	Hash      []byte  `cbor:"4,keyasint"` // SHA-256 of the secret
	Label     string  `cbor:"5,keyasint,omitempty"`
	ExpiresAt Instant `cbor:"6,keyasint"`
	Created   Origin  `cbor:"7,keyasint"`
	RevokedAt Instant `cbor:"8,keyasint,omitempty"`
}

// JoinToken lets one new node in, once.
type JoinToken struct {
	Rev       uint64  `cbor:"1,keyasint"`
	ID        string  `cbor:"2,keyasint"`
	MACKey    []byte  `cbor:"3,keyasint"` // SHA-256 of the secret: enough to check a proof, not to make a token
	ExpiresAt Instant `cbor:"4,keyasint"`
	Created   Origin  `cbor:"5,keyasint"`
	UsedBy    NodeID  `cbor:"6,keyasint,omitempty"`
}
