package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Principal is whoever calls. Roles are written "role:key-glob".
type Principal struct {
	Name      string                  `json:"name"`
	Kind      lifecycle.PrincipalKind `json:"kind"`
	Roles     []string                `json:"roles"`
	SSHKeys   []string                `json:"ssh_keys"` // authorized_keys lines
	Certs     []string                `json:"certs"`    // hex SHA-256 of the SPKI of client certificates
	Tokens    int                     `json:"tokens"`   // live ones
	Created   Origin                  `json:"created"`
	RevokedAt Time                    `json:"revoked_at"`
	RevokedBy Text                    `json:"revoked_by"`
}

// AddPrincipal adds a principal; replace gives an existing one new roles and keys.
type AddPrincipal struct {
	Name    string                  `json:"name"`
	Kind    lifecycle.PrincipalKind `json:"kind,omitempty"` // "" = service, or person when it has SSH keys
	Roles   []string                `json:"roles"`
	SSHKeys []string                `json:"ssh_keys,omitempty"`
	Certs   []string                `json:"certs,omitempty"`
	Replace bool                    `json:"replace,omitempty"`
	Comment string                  `json:"comment,omitempty"` // why, for those who have to approve it
}

// Token is a bearer token without its secret.
type Token struct {
	ID        string `json:"id"`
	Principal string `json:"principal"`
	Label     string `json:"label"`
	ExpiresAt Time   `json:"expires_at"`
	Created   Origin `json:"created"`
	RevokedAt Time   `json:"revoked_at"`
}

// CreateToken asks for a token of a principal.
type CreateToken struct {
	Principal string                 `json:"principal"`
	Label     string                 `json:"label,omitempty"`
	TTL       lifecycle.Milliseconds `json:"ttl,omitempty"` // 0 = the server's default
}

// CreatedToken carries the secret, once: a replayed request answers without it,
// because only its hash is stored.
type CreatedToken struct {
	Token
	Secret    string   `json:"token"` // "chy_..."; empty when replayed
	RequestID string   `json:"request_id"`
	Position  Position `json:"position"`
}

// Login namespace and first line. A client signs a challenge only in this SSHSIG
// namespace and only when it begins with this line, so that no server can have it
// sign an approval in the guise of a login.
const (
	LoginNamespace = "chancery-login"
	LoginPreamble  = "chancery-login/1\n"
)

// ChallengeRequest names who wants to log in: a principal, or the SHA-256
// fingerprint of an SSH key as `ssh-keygen -l` prints it.
type ChallengeRequest struct {
	Principal   string `json:"principal,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Challenge is the text to be signed, exactly as it stands.
type Challenge struct {
	Challenge string `json:"challenge"`
	Namespace string `json:"namespace"` // always LoginNamespace
	ExpiresAt Time   `json:"expires_at"`
}

// LoginRequest brings a challenge back with an armoured SSH signature over it.
type LoginRequest struct {
	Challenge string `json:"challenge"`
	Signature string `json:"signature"`
}

// Login is a session: a token of a few hours.
type Login struct {
	Principal string   `json:"principal"`
	TokenID   string   `json:"token_id"`
	Token     string   `json:"token"`
	ExpiresAt Time     `json:"expires_at"`
	Position  Position `json:"position"`
}

// WhoAmI says who the caller is taken for.
type WhoAmI struct {
	Principal string                  `json:"principal"`
	Kind      lifecycle.PrincipalKind `json:"kind"`
	Roles     []string                `json:"roles"`
	Via       string                  `json:"via"` // certificate or token
	TokenID   Text                    `json:"token_id"`
	ExpiresAt Time                    `json:"expires_at"`
	Cluster   string                  `json:"cluster"`
	Node      string                  `json:"node"`
	Position  Position                `json:"position"`
}

// CanI asks whether the caller may do something: a verb as the command line has
// it ("sign", "key revoke", "principal add") and a key name where it takes one.
type CanI struct {
	Verb string `json:"verb"`
	Key  string `json:"key,omitempty"`
}

// Decision is the answer, with the grant that allows it or the roles that would.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Verb    string `json:"verb"`
	Key     Text   `json:"key"`
	Grant   Text   `json:"grant"`
	Why     string `json:"why"`
}
