package authority

import (
	"reflect"
	"testing"
)

// FuzzParseJoinToken: a file that somebody hands to an operator makes no panic, and what
// is taken for a token has all that a join needs and says the same when written again.
func FuzzParseJoinToken(f *testing.F) {
	good := JoinToken{Cluster: "3f72", ID: "t1", Secret: make([]byte, 16), Addresses: []string{"n1:7602"}, Pins: []string{"aa"}}.Encode()
	for _, s := range []string{good, good[:len(good)-2], "\n " + good + "\n", JoinTokenPrefix, JoinTokenPrefix + "e30", JoinTokenPrefix + "bnVsbA", ""} {
		f.Add(s)
	}
	if _, err := ParseJoinToken(good); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseJoinToken(text)
		if err != nil {
			return
		}
		if len(token.Secret) != 16 || token.ID == "" || token.Cluster == "" || len(token.Pins) == 0 || len(token.Addresses) == 0 {
			t.Errorf("%q: something is missing in %+v", text, token)
		}
		if again, err := ParseJoinToken(token.Encode()); err == nil && !reflect.DeepEqual(again, token) {
			t.Errorf("%q is another token when written again", text)
		}
	})
}
