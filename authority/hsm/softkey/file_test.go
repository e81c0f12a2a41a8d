package softkey

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	testID     = hsm.ObjectID{1, 2, 3}
	testRecord = record{alg: lifecycle.ES256, label: "ci/1", pkcs8: []byte("not really a key")}
)

func testRing() *keyring {
	return &keyring{kind: fromKeyFile, secret: bytes.Repeat([]byte{7}, 32), keys: map[derivation]sealingKey{}}
}

func testFile(t testing.TB, ring *keyring) (sealingKey, []byte) {
	t.Helper()
	key, err := ring.derive(derivation{kind: fromKeyFile, salt: [saltSize]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	// A fixed nonce: the file must be the same in each process of the fuzzer.
	h := header{kdf: key.kdf, id: testID, nonce: [24]byte{5}}
	file, err := sealUnder(key, "cluster", h, testRecord)
	if err != nil {
		t.Fatal(err)
	}
	return key, file
}

// openFile goes the way Store.unsealPair goes, up to the record.
func openFile(ring *keyring, cluster string, id hsm.ObjectID, file []byte) (record, error) {
	h, _, err := parseHeader(file)
	if err != nil {
		return record{}, err
	}
	ring.keys = map[derivation]sealingKey{} // damaged salts must not fill the ring
	key, err := ring.derive(h.kdf)
	if err != nil {
		return record{}, err
	}
	return unseal(key, cluster, id, file)
}

func TestFileRoundTrip(t *testing.T) {
	ring := testRing()
	_, file := testFile(t, ring)
	rec, err := openFile(ring, "cluster", testID, file)
	if err != nil || rec.alg != testRecord.alg || rec.label != testRecord.label || !bytes.Equal(rec.pkcs8, testRecord.pkcs8) {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestGoldenFile fixes format version 1: a file written by any release opens in
// every later one. Never regenerate it; a change of the format is a new version.
func TestGoldenFile(t *testing.T) {
	const golden = "4348534b0101010000000000000000000000000009000000000000000000000000000000010203000000000000000000000000000500000000000000000000000000000000000000000000000000002c9711f5f273407b70c510c4382ff1b69ace3b8fb318d05dad607446cd9edf6e9e5de58378ed94389abcd4967a"
	_, file := testFile(t, testRing())
	if got := hex.EncodeToString(file); got != golden {
		t.Errorf("version 1 now writes\n%s, it wrote\n%s", got, golden)
	}
}

// TestSealDrawsNonces: two files of one key differ.
func TestSealDrawsNonces(t *testing.T) {
	ring := testRing()
	key, _ := testFile(t, ring)
	a, errA := seal(key, "cluster", testID, testRecord)
	b, errB := seal(key, "cluster", testID, testRecord)
	if errA != nil || errB != nil || bytes.Equal(a[52:76], b[52:76]) {
		t.Errorf("nonces %x and %x (%v, %v)", a[52:76], b[52:76], errA, errB)
	}
	if _, err := openFile(ring, "cluster", testID, a); err != nil {
		t.Error(err)
	}
}

// TestEveryBitFlip and TestEveryTruncation hold the promise that a damaged file is
// an error of its own kind, whatever the damage.
func TestEveryBitFlip(t *testing.T) {
	ring := testRing()
	_, file := testFile(t, ring)
	for bit := range len(file) * 8 {
		damaged := bytes.Clone(file)
		damaged[bit/8] ^= 1 << (bit % 8)
		if _, err := openFile(ring, "cluster", testID, damaged); !errors.Is(err, hsm.ErrCorrupt) || errors.Is(err, hsm.ErrNotFound) {
			t.Fatalf("bit %d of byte %d flipped: %v, want ErrCorrupt", bit%8, bit/8, err)
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	ring := testRing()
	_, file := testFile(t, ring)
	for n := range file {
		if _, err := openFile(ring, "cluster", testID, file[:n]); !errors.Is(err, hsm.ErrCorrupt) {
			t.Fatalf("truncated to %d bytes: %v, want ErrCorrupt", n, err)
		}
	}
	if _, err := openFile(ring, "cluster", testID, append(bytes.Clone(file), 0)); !errors.Is(err, hsm.ErrCorrupt) {
		t.Errorf("one byte longer: %v, want ErrCorrupt", err)
	}
}

func TestSealBindsClusterAndID(t *testing.T) {
	ring := testRing()
	_, file := testFile(t, ring)
	if _, err := openFile(ring, "cluster2", testID, file); !errors.Is(err, hsm.ErrCorrupt) {
		t.Errorf("another cluster: %v", err)
	}
	if _, err := openFile(ring, "cluster", hsm.ObjectID{4}, file); !errors.Is(err, hsm.ErrCorrupt) {
		t.Errorf("another id: %v", err)
	}
}

func TestHostileArgonParameters(t *testing.T) {
	for _, d := range []derivation{
		{kind: fromPassphrase},
		{kind: fromPassphrase, passes: 1 << 31, memoryKiB: argonMemoryKiB, lanes: 1},
		{kind: fromPassphrase, passes: 1, memoryKiB: 1 << 31, lanes: 1},
		{kind: fromPassphrase, passes: 1, memoryKiB: argonMemoryKiB, lanes: 255},
		{kind: fromPassphrase, passes: 1, memoryKiB: 1, lanes: 1},
		{kind: fromKeyFile, passes: 1},
		{kind: 3},
	} {
		if err := d.check(); !errors.Is(err, hsm.ErrCorrupt) {
			t.Errorf("%+v: %v, want ErrCorrupt", d, err)
		}
	}
}

func FuzzFile(f *testing.F) {
	ring := testRing()
	_, file := testFile(f, ring)
	f.Add(file)
	f.Add(file[:headerSize])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, sealed, err := parseHeader(in)
		if err != nil {
			if !errors.Is(err, hsm.ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		if again := append(h.encode(), sealed...); !bytes.Equal(again, in) {
			t.Fatalf("accepted a header that encodes differently:\n%x\n%x", in, again)
		}
		if h.kdf.kind != fromKeyFile {
			return // Argon2id is too slow to fuzz through
		}
		if _, err := openFile(ring, "cluster", h.id, in); err == nil && !bytes.Equal(in, file) {
			t.Fatal("a forged file opened")
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("\x05ES256\x00\x04ci/1pkcs8"))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		rec, err := parseRecord(in)
		if err != nil {
			if !errors.Is(err, hsm.ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		if n := 3 + len(rec.alg) + len(rec.label) + len(rec.pkcs8); n != len(in) {
			t.Fatalf("fields of %d bytes out of %d", n, len(in))
		}
		_, err = openPair(testID, rec)
		if err != nil && !errors.Is(err, hsm.ErrCorrupt) {
			t.Fatalf("%v is not ErrCorrupt", err)
		}
	})
}
