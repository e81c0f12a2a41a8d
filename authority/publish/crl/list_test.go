package crl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"iter"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// revoked is what a test puts on a list.
type revoked struct {
	serial     lifecycle.Serial
	at         lifecycle.Instant
	reason     lifecycle.Reason
	invalidity lifecycle.Instant
}

func instant(t time.Time) lifecycle.Instant { return lifecycle.Instant(t.UnixMilli()) }

func encode(list []revoked) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, r := range list {
			if !yield(lifecycle.EncodeCRLEntry(r.serial, r.at, r.reason, r.invalidity), nil) {
				return
			}
		}
	}
}

func listOf(ca *pkitest.CA, number uint64) *crl.List {
	now := time.Now()
	return &crl.List{Issuer: crl.Issuer{Subject: ca.Cert.RawSubject, KeyID: ca.Cert.SubjectKeyId, Alg: lifecycle.ES256},
		Number: number, ThisUpdate: instant(now.Add(-time.Minute)), NextUpdate: instant(now.Add(72 * time.Hour))}
}

// sign makes a whole list.
func sign(t testing.TB, ca *pkitest.CA, l *crl.List, entries iter.Seq2[[]byte, error]) []byte {
	t.Helper()
	d, err := l.Draft(0, entries)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(d.TBS())
	signature, err := ca.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return d.Finish(signature)
}

func serialOf(n byte) (s lifecycle.Serial) {
	s[0], s[19] = 1, n
	return s
}

// TestAgainstStandardLibrary compares what is signed with what crypto/x509 makes of the
// same, byte for byte.
func TestAgainstStandardLibrary(t *testing.T) {
	ca := pkitest.Root(t, "root").Issuing(t, "corp issuing 4f2a")
	at := time.Now().Add(-time.Hour)
	late := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	var long []revoked
	for i := range 2000 {
		long = append(long, revoked{serialOf(byte(i)), instant(at), lifecycle.KeyCompromise, 0})
	}
	for name, list := range map[string][]revoked{
		"empty":       nil,
		"one":         {{serialOf(1), instant(at), lifecycle.Unspecified, 0}},
		"reasons":     {{serialOf(1), instant(at), lifecycle.CertificateHold, 0}, {serialOf(2), instant(at), lifecycle.CACompromise, 0}, {serialOf(3), instant(late), lifecycle.Superseded, 0}},
		"two lengths": long[:3],
		"long":        long,
	} {
		for _, number := range []uint64{1, 127, 128, 1 << 40} {
			l := listOf(ca, number)
			der := sign(t, ca, l, encode(list))
			template := &x509.RevocationList{Number: new(big.Int).SetUint64(number), ThisUpdate: time.UnixMilli(int64(l.ThisUpdate)), NextUpdate: time.UnixMilli(int64(l.NextUpdate))}
			for _, r := range list {
				template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, standard(t, r))
			}
			want, err := x509.CreateRevocationList(rand.Reader, template, ca.Cert, ca.Key)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := x509.ParseRevocationList(want)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := x509.ParseRevocationList(der)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := ours.CheckSignatureFrom(ca.Cert); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !bytes.Equal(ours.RawTBSRevocationList, theirs.RawTBSRevocationList) {
				t.Errorf("%s, number %d:\n%x\nstandard library:\n%x", name, number, ours.RawTBSRevocationList, theirs.RawTBSRevocationList)
			}
		}
	}
}

// standard is an entry as crypto/x509 takes it.
func standard(t *testing.T, r revoked) x509.RevocationListEntry {
	t.Helper()
	return x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(r.serial[:]), RevocationTime: time.UnixMilli(int64(r.at)), ReasonCode: r.reason.Code()}
}

func TestInvalidityDate(t *testing.T) {
	ca := pkitest.Root(t, "root")
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	list, err := x509.ParseRevocationList(sign(t, ca, listOf(ca, 7), encode([]revoked{{serialOf(2), instant(since.Add(time.Hour)), lifecycle.KeyCompromise, instant(since)}})))
	if err != nil {
		t.Fatal(err)
	}
	entry := list.RevokedCertificateEntries[0]
	at := slices.IndexFunc(entry.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 24}) })
	var got time.Time
	if at < 0 {
		t.Fatalf("no invalidityDate: %v", entry.Extensions)
	}
	if _, err := asn1.UnmarshalWithParams(entry.Extensions[at].Value, &got, "generalized"); err != nil || !got.Equal(since) || entry.ReasonCode != 1 {
		t.Errorf("invalid since %s, reason %d, %v", got, entry.ReasonCode, err)
	}
}

func TestShard(t *testing.T) {
	ca := pkitest.Root(t, "root")
	l := listOf(ca, 7)
	l.Shard = "http://crl.test/crl/corp/4f2a/3.crl"
	list, err := x509.ParseRevocationList(sign(t, ca, l, encode([]revoked{{serialOf(2), l.ThisUpdate, lifecycle.Superseded, 0}})))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) })
	if at < 0 || !list.Extensions[at].Critical {
		t.Fatalf("no critical issuingDistributionPoint: %v", list.Extensions)
	}
	var point struct {
		Name struct {
			Full []asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"optional,tag:0"`
	}
	if rest, err := asn1.Unmarshal(list.Extensions[at].Value, &point); err != nil || len(rest) > 0 || len(point.Name.Full) != 1 || string(point.Name.Full[0].Bytes) != l.Shard {
		t.Errorf("%x: %+v, %v", list.Extensions[at].Value, point, err)
	}
	for n := range 256 {
		if s := crl.ShardOf(serialOf(byte(n))); s < 1 || s > crl.Shards {
			t.Fatalf("shard %d", s)
		}
	}
	if crl.ShardOf(serialOf(1)) == crl.ShardOf(serialOf(2)) {
		t.Error("everything is in one shard")
	}
}

func TestRefusals(t *testing.T) {
	ca := pkitest.Root(t, "root")
	good := lifecycle.EncodeCRLEntry(serialOf(1), 1_700_000_000_000, lifecycle.KeyCompromise, 0)
	broken := errors.New("the table cannot be read")
	one := func(b []byte, err error) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) { yield(b, err) }
	}
	for name, c := range map[string]struct {
		change  func(*crl.List)
		entries iter.Seq2[[]byte, error]
		want    error
	}{
		"two entries in one":  {nil, one(append(bytes.Clone(good), good...), nil), crl.ErrEntry},
		"a cut entry":         {nil, one(good[:len(good)-1], nil), crl.ErrEntry},
		"no entry":            {nil, one(nil, nil), crl.ErrEntry},
		"another tag":         {nil, one([]byte{4, 1, 1}, nil), crl.ErrEntry},
		"a reader that fails": {nil, one(nil, broken), broken},
		"ended before":        {func(l *crl.List) { l.NextUpdate = l.ThisUpdate }, encode(nil), nil},
		"no time":             {func(l *crl.List) { l.ThisUpdate = 0 }, encode(nil), nil},
		"no issuer":           {func(l *crl.List) { l.Issuer.Subject = nil }, encode(nil), nil},
		"no key id":           {func(l *crl.List) { l.Issuer.KeyID = nil }, encode(nil), nil},
		"no algorithm":        {func(l *crl.List) { l.Issuer.Alg = "" }, encode(nil), nil},
	} {
		l := listOf(ca, 1)
		if c.change != nil {
			c.change(l)
		}
		if _, err := l.Draft(0, c.entries); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
