package authority

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// JoinTokenPrefix begins every join token.
const JoinTokenPrefix = "chyjoin_"

const maxJoinTokenBytes = 16 << 10

// JoinToken is everything a new node needs to find the cluster and to know it
// when it answers: addresses of node ports, and the pins of the CA instances one
// of which must stand in the chain of whoever answers.
type JoinToken struct {
	Cluster   string            `json:"cluster"`
	ID        string            `json:"id"`
	Secret    []byte            `json:"secret"`
	ExpiresAt lifecycle.Instant `json:"expires_at_ms"`
	Addresses []string          `json:"addresses"`
	Pins      []string          `json:"pins"` // hex SHA-256 of CA certificates, DER
}

// NewJoinToken completes a join secret with what the state knows of the members.
func NewJoinToken(v *state.View, j JoinSecret) JoinToken {
	t := JoinToken{Cluster: v.Cluster().ID, ID: j.ID, Secret: j.Secret[:], ExpiresAt: j.ExpiresAt}
	for _, n := range v.Nodes() {
		if n.Status == lifecycle.Member && n.Voter {
			sum := sha256.Sum256(n.CACert)
			t.Addresses, t.Pins = append(t.Addresses, n.Addrs.Node), append(t.Pins, hex.EncodeToString(sum[:]))
		}
	}
	return t
}

// Encode writes the token as one word.
func (t JoinToken) Encode() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Errorf("encode a join token: %w", err)) // strings and numbers only
	}
	return JoinTokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseJoinToken reads what Encode wrote; white space around it is forgiven.
func ParseJoinToken(s string) (t JoinToken, err error) {
	s = strings.TrimSpace(s)
	body, ok := strings.CutPrefix(s, JoinTokenPrefix)
	if !ok || len(s) > maxJoinTokenBytes {
		return t, fmt.Errorf("this is no join token: it would begin with %s; make one with `chancery node token`", JoinTokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return t, fmt.Errorf("read the join token: it was cut or changed: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, fmt.Errorf("read the join token: %w", err)
	}
	if len(t.Secret) != 16 || t.Cluster == "" || t.ID == "" || len(t.Addresses) == 0 || len(t.Pins) == 0 {
		return t, fmt.Errorf("read the join token: something is missing in it; make a new one with `chancery node token`")
	}
	return t, nil
}
