package authority

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Credential is what a caller showed: a client certificate's key, or a bearer
// token. Both are looked up in the replicated state; a certificate is no proof by
// itself, because each voter holds a CA key and a stolen one could sign any name.
type Credential struct {
	CertSPKI string // hex SHA-256 of the SPKI of a client certificate whose key was proven
	Token    string // the bearer token as sent
	Remote   string // network address, for the audit record
}

// Caller is an authenticated principal.
type Caller struct {
	Principal string
	TokenID   string // "" with a client certificate
	Remote    string
}

// TokenPrefix begins every bearer token, so that scanners find leaked ones.
const TokenPrefix = "chy_"

// maxTokenBytes bounds what is hashed for an unknown caller.
const maxTokenBytes = 256

// Authenticate finds the principal behind a credential. The error never says
// which part was wrong beyond what helps the owner of a real credential.
func Authenticate(v *state.View, c Credential, now time.Time) (Caller, error) {
	switch {
	case c.Token != "":
		return byToken(v, c, lifecycle.Instant(now.UnixMilli()))
	case c.CertSPKI != "":
		p := v.PrincipalByCert(c.CertSPKI)
		if p == nil || p.RevokedAt != 0 {
			return Caller{}, fmt.Errorf("%w: the client certificate belongs to no principal of this cluster", ErrUnauthenticated)
		}
		return Caller{Principal: p.Name, Remote: c.Remote}, nil
	}
	return Caller{}, fmt.Errorf("%w: send a client certificate or a bearer token", ErrUnauthenticated)
}

func byToken(v *state.View, c Credential, now lifecycle.Instant) (Caller, error) {
	if len(c.Token) > maxTokenBytes || !strings.HasPrefix(c.Token, TokenPrefix) {
		return Caller{}, fmt.Errorf("%w: a bearer token begins with %s", ErrUnauthenticated, TokenPrefix)
	}
	t := v.TokenBySecret(HashToken(c.Token))
	if t == nil || t.RevokedAt != 0 {
		return Caller{}, fmt.Errorf("%w: the token is unknown or was revoked", ErrUnauthenticated)
	}
	if now >= t.ExpiresAt {
		return Caller{}, fmt.Errorf("%w: the token %s expired at %s", ErrUnauthenticated, t.ID, t.ExpiresAt)
	}
	p := v.Principal(t.Principal)
	if p == nil || p.RevokedAt != 0 {
		return Caller{}, fmt.Errorf("%w: the token's principal was revoked", ErrUnauthenticated)
	}
	return Caller{Principal: p.Name, TokenID: t.ID, Remote: c.Remote}, nil
}

// HashToken is how a token's secret is stored. The secret has 256 random bits, so
// a plain hash cannot be searched.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// SPKIHash is how a client certificate's key is registered.
func SPKIHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}
