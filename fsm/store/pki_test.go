package store

import (
	"bytes"
	"errors"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// certified is a script with an issuer and 64 certificates, of which 8 are revoked, and 32
// that are announced, and with recorded signatures.
func certified() [][]byte {
	script := append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)
	for first := 0; first < 64; first += 32 {
		intents, record := fsmtest.Issue(first, 32)
		script = append(script, intents, record)
	}
	intents, _ := fsmtest.Issue(64, 32)
	script = append(script, fsmtest.Record(3, fsmtest.CertAt(32, 32)))
	return append(script, fsmtest.Revoke(0, 8, 32, fsmtest.CertAt(64, 32)), intents)
}

func hasCertificates(t *testing.T, s *Store) {
	t.Helper()
	for n, want := range map[int]lifecycle.CertState{0: lifecycle.CertRevoked, 8: lifecycle.CertIssued, 63: lifecycle.CertIssued} {
		c, err := s.View().Certificate(fsmtest.CertSerial(n, 32))
		if err != nil || c == nil || c.State != want || c.Node != fsmtest.NodeID || c.Version != 1 {
			t.Errorf("certificate %d is %+v, %v; want %s", n, c, err, want)
		}
		page, err := s.View().FindCertificates(state.CertQuery{Name: fsmtest.CertName(n)})
		if err != nil || len(page.Certificates) != 1 || page.Certificates[0].Serial != c.Serial {
			t.Errorf("certificate %d by its name: %+v, %v", n, page, err)
		}
	}
	entries := 0
	if index, err := s.View().EachRevoked(fsmtest.IssuerKID, func(state.RevokedEntry) bool { entries++; return true }); err != nil || entries != 8 || index != s.Position().Index {
		t.Errorf("%d entries on the CRL of entry %d, %v", entries, index, err)
	}
	if tally := s.View().CertTally(fsmtest.IssuerKID); tally.Issued != 64 || tally.Revoked != 8 || tally.OnCRL != 8 || tally.Intents != 32 {
		t.Errorf("tally %+v", tally)
	}
}

// TestCertificatesTravel: through a restart, and by a snapshot to a node that has nothing.
func TestCertificatesTravel(t *testing.T) {
	dir, script := t.TempDir(), certified()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:len(script)-3]))
	apply(t, s, batch(uint64(len(script)-2), script[len(script)-3:])) // the announced ones lie in the file
	want, b := standOf(t, s), take(t, s)
	hasCertificates(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if standOf(t, s) != want {
		t.Error("reopened elsewhere")
	}
	hasCertificates(t, s)
	other := open(t, t.TempDir(), Options{})
	if _, replaced, err := other.Restore(bytes.NewReader(b)); err != nil || !replaced {
		t.Fatalf("%t, %v", replaced, err)
	}
	if standOf(t, other) != want || !bytes.Equal(take(t, other), b) || !bytes.Equal(taken(t, script), b) {
		t.Error("the snapshot made another state")
	}
	hasCertificates(t, other)
}

// TestAlteredCertificatesAreFound: whatever row of them is changed or missing.
func TestAlteredCertificatesAreFound(t *testing.T) {
	for _, table := range state.Tables {
		for what, alter := range map[string]func(b *bolt.Bucket, k, v []byte) error{
			"changed": func(b *bolt.Bucket, k, v []byte) error { return b.Put(k, append(v, 0)) },
			"missing": func(b *bolt.Bucket, k, _ []byte) error { return b.Delete(k) },
			"moved": func(b *bolt.Bucket, k, v []byte) error {
				return errors.Join(b.Delete(k), b.Put(append(bytes.Clone(k), 0), v))
			},
		} {
			if table.Hot() || !table.Index() && !table.Digested() {
				continue
			}
			s := open(t, t.TempDir(), Options{})
			apply(t, s, batch(1, certified()))
			altered := false
			tamper(t, s, func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte(table))
				k, v := b.Cursor().First()
				if altered = k != nil; !altered {
					return nil
				}
				return alter(b, bytes.Clone(k), bytes.Clone(v))
			})
			_, err := s.Scan(t.Context())
			var found *Altered
			if altered != errors.As(err, &found) {
				t.Errorf("a row of %s is %s: %v", table, what, err)
			}
			if !altered {
				t.Errorf("table %s is empty: it is not tested", table)
			}
		}
	}
}
