package lifecycle

import "testing"

// FuzzParseSerial: whatever is taken for a serial is written in one way, and is one.
func FuzzParseSerial(f *testing.F) {
	for _, s := range []string{"", "01", "0x01:23", "0180000000000000000000000000000000000000", " 01 80 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ", "-1", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSerial(text)
		if err != nil {
			return
		}
		if again, err := ParseSerial(s.String()); err != nil || again != s {
			t.Errorf("%q is %s, which is %s, %v", text, s, again, err)
		}
		if same, ok := SerialOf(s[:]); !ok || same != s {
			t.Errorf("%q is %s, and the cluster cannot have given it out", text, s)
		}
	})
}
