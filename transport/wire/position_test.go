package wire

import "testing"

// FuzzParseEventID: the cursor of an event stream comes from anybody.
func FuzzParseEventID(f *testing.F) {
	for _, s := range []string{"1-1902", "1902", "", "-", "1-", "-1--1", "18446744073709551615-18446744073709551616", "+1-2", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		epoch, index, err := ParseEventID(s)
		if err != nil {
			return
		}
		if e, i, err := ParseEventID(EventID(epoch, index)); err != nil || e != epoch || i != index {
			t.Errorf("%q is %d-%d, which is %d-%d, %v", s, epoch, index, e, i, err)
		}
	})
}
