//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// open opens a token and closes it with the test.
func open(t testing.TB, cfg hsm.Config) *Store {
	t.Helper()
	s, err := Open(hsmtest.Context(t), cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// hold keeps every call out of the device until release.
func hold(t testing.TB, s *Store) (release func()) {
	t.Helper()
	if err := s.module.enter(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	return func() { s.module.leave(true) }
}

// plant makes a pair without any of Generate's checks.
func plant(t testing.TB, s *Store, id hsm.ObjectID) {
	t.Helper()
	err := s.do(hsmtest.Context(t), true, true, func(w *worker) error {
		return w.create(hsm.Spec{ID: id, Label: "planted", Alg: lifecycle.ES256}, fullTemplate)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	hsmtest.Run(t, func(t *testing.T) hsmtest.Factory {
		hsmSet := hsmtest.NewSoftHSM(t, "conformance")
		return hsmtest.Factory{
			Open: func(t testing.TB, change func(*hsm.Config)) hsm.KeyStore {
				cfg := hsmSet.Config("conformance")
				if change != nil {
					change(&cfg)
				}
				s, err := hsm.Open(hsmtest.Context(t), cfg, testLog(t))
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Hold:      func(t testing.TB, ks hsm.KeyStore) func() { return hold(t, ks.(*Store)) },
			Duplicate: func(t testing.TB, ks hsm.KeyStore, id hsm.ObjectID) { plant(t, ks.(*Store), id) },
		}
	})
}
