package publish

import (
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Format is an encoding of public keys.
type Format string

const (
	PEM  Format = "pem"  // PKIX "PUBLIC KEY" blocks (RFC 7468), one after another
	DER  Format = "der"  // one SubjectPublicKeyInfo
	JWKS Format = "jwks" // canonical JWK Set
	SSH  Format = "ssh"  // authorized_keys lines
)

// MinKIDPrefix is the shortest beginning of a kid that is accepted for the whole.
const MinKIDPrefix = 8

// Selection narrows an export. The zero Selection is the key's trust set.
type Selection struct {
	Version uint64           // 0 = all
	KID     string           // whole, or a beginning of MinKIDPrefix characters or more
	Node    lifecycle.NodeID // "" = all
	// Untrusted also gives what is outside the trust set, for whoever examines an
	// incident. It must stay false for anything served as a trust anchor.
	Untrusted bool
}

func (s Selection) matches(i *lifecycle.Instance) bool {
	switch {
	case i.KID == "",
		s.Version != 0 && s.Version != i.Version,
		s.Node != "" && s.Node != i.Node,
		s.KID != "" && (len(s.KID) < MinKIDPrefix || !strings.HasPrefix(i.KID, s.KID)):
		return false
	}
	return true
}

// Select lists the instances a selection names, by version and node.
func Select(view *state.View, name lifecycle.KeyID, s Selection) ([]*lifecycle.Instance, error) {
	if view.Key(name) == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, name)
	}
	var out []*lifecycle.Instance
	withheld := 0
	for _, v := range view.Versions(name) {
		for _, i := range view.Instances(name, v.Number) {
			switch {
			case !s.matches(i):
			case !s.Untrusted && !i.InTrustSet(v):
				withheld++
			default:
				out = append(out, i)
			}
		}
	}
	switch {
	case len(out) == 0 && withheld > 0:
		return nil, fmt.Errorf("%w: key %s, %d withheld", ErrUntrusted, name, withheld)
	case len(out) == 0:
		return nil, fmt.Errorf("%w: key %s", ErrNoInstance, name)
	}
	return out, nil
}

// Export encodes the public keys a selection names. DER holds exactly one, so it
// answers ErrSeveral for more.
func Export(view *state.View, name lifecycle.KeyID, s Selection, f Format) ([]byte, error) {
	found, err := Select(view, name, s)
	if err != nil {
		return nil, err
	}
	switch f {
	case DER:
		if len(found) > 1 {
			return nil, fmt.Errorf("%w (%d of key %s)", ErrSeveral, len(found), name)
		}
		return append([]byte(nil), found[0].SPKI...), nil
	case PEM:
		var out []byte
		for _, i := range found {
			out = append(out, EncodePEM(i.SPKI)...)
		}
		return out, nil
	case SSH:
		var out []byte
		for _, i := range found {
			line, err := AuthorizedKey(i.SPKI, fmt.Sprintf("%s/%d %s", name, i.Version, i.KID))
			if err != nil {
				return nil, err
			}
			out = append(out, line...)
		}
		return out, nil
	case JWKS:
		alg := view.Key(name).Alg
		entries := make([]entry, len(found))
		for n, i := range found {
			entries[n] = entry{alg, i}
		}
		set, err := build(name, entries, horizon{})
		if err != nil {
			return nil, err
		}
		return set.JWKS, nil
	}
	return nil, fmt.Errorf("%w, not %q", ErrFormat, string(f))
}

// EncodePEM is the PKIX PEM form of a SubjectPublicKeyInfo.
func EncodePEM(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// AuthorizedKey is the authorized_keys line of a SubjectPublicKeyInfo, newline
// included (sshd(8); RFC 4253, 5656, 8709). comment must not contain a newline.
func AuthorizedKey(spki []byte, comment string) ([]byte, error) {
	pub, err := hsm.ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode SSH key: %w", err)
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
	if comment = strings.NewReplacer("\n", " ", "\r", " ").Replace(comment); comment != "" {
		line += " " + comment
	}
	return []byte(line + "\n"), nil
}
