package command

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestRequestTime(t *testing.T) {
	const good = "019b7dd0-2c7b-7000-8000-000000000001"
	if at, err := RequestTime(good); err != nil || at != 0x019b7dd02c7b {
		t.Fatalf("RequestTime(%s) = %d, %v", good, at, err)
	}
	for _, bad := range []string{"", "x", good + "0", good[:35], strings.ToUpper(good), strings.Replace(good, "-", "0", 1),
		"019b7dd0-2c7b-4000-8000-000000000001", "019b7dd0-2c7b-7000-7000-000000000001", "019b7dd0-2c7b-7000-c000-000000000001",
		"019b7dd02-c7b-7000-8000-000000000001", "g19b7dd0-2c7b-7000-8000-000000000001", "019b7dd0-2c7b-7000-8000-00000000000\x00"} {
		if _, err := RequestTime(bad); err == nil {
			t.Errorf("%q passes for a UUIDv7", bad)
		}
	}
}

func TestRequestTimeAgreesWithUUID(t *testing.T) {
	for range 100 {
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		sec, nsec := id.Time().UnixTime()
		at, err := RequestTime(id.String())
		if err != nil || int64(at) != sec*1000+nsec/1e6 {
			t.Fatalf("RequestTime(%s) = %d, %v; want %d", id, at, err, sec*1000+nsec/1e6)
		}
	}
}

// FuzzRequestTime: what passes is a UUID of version 7 and variant 10 for an
// independent parser, and its text sorts by time.
func FuzzRequestTime(f *testing.F) {
	f.Add("019b7dd0-2c7b-7000-8000-000000000001", "019b7dd0-2c7c-7000-bfff-ffffffffffff")
	f.Add("", "ffffffff-ffff-7fff-bfff-ffffffffffff")
	f.Fuzz(func(t *testing.T, a, b string) {
		at, err := RequestTime(a)
		if err != nil {
			return
		}
		id, perr := uuid.Parse(a)
		if perr != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || id.String() != a {
			t.Fatalf("%q passes; uuid says %v, version %d, variant %s", a, perr, id.Version(), id.Variant())
		}
		if bt, err := RequestTime(b); err == nil && at < bt && a >= b {
			t.Fatalf("%q is older than %q and sorts after it", a, b)
		}
	})
}
