//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"slices"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestFitSessions: the workers' sessions, the admin worker's and crypto11's two stay
// within 80 % of what the token states.
func TestFitSessions(t *testing.T) {
	const none = pkcs11.CK_EFFECTIVELY_INFINITE
	unknown := uint(pkcs11.CK_UNAVAILABLE_INFORMATION)
	for _, test := range []struct {
		all, readWrite uint
		want           int
	}{
		{none, none, 4}, {unknown, unknown, 4}, {100, none, 4}, {10, none, 4}, {none, 8, 3}, {6, 100, 1}, {2, 2, 1},
	} {
		s := &Store{cfg: hsm.Config{Concurrency: 4}, log: testLog(t)}
		s.fitSessions(token{info: pkcs11.TokenInfo{MaxSessionCount: test.all, MaxRwSessionCount: test.readWrite}})
		if s.cfg.Concurrency != test.want {
			t.Errorf("limits %d and %d: concurrency %d, want %d", test.all, test.readWrite, s.cfg.Concurrency, test.want)
		}
	}
}

func TestMechanismsDecide(t *testing.T) {
	table := &mechanismTable{info: map[uint]pkcs11.MechanismInfo{
		pkcs11.CKM_EC_KEY_PAIR_GEN: {}, pkcs11.CKM_ECDSA: {},
		pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN: {MaxKeySize: 3072}, pkcs11.CKM_RSA_PKCS: {MaxKeySize: 4096},
		ckmEdDSA: {},
	}}
	if got, want := table.algorithms(), []string{"ES256", "ES384", "RS256"}; !slices.Equal(got, want) {
		t.Errorf("algorithms %v, want %v", got, want)
	}
	if err := table.check(lifecycle.RS256, 4096); !errors.Is(err, hsm.ErrUnsupported) {
		t.Errorf("RSA beyond the token's limit: %v", err)
	}
	if err := table.check(lifecycle.RS256, 3072); err != nil {
		t.Errorf("RSA at the token's limit: %v", err)
	}
}
