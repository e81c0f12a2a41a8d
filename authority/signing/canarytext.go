package signing

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// CanaryOf tells whether what an instance signed is a canary of its own: the words that
// Canaries has it sign for a consumer that this cluster knows, to the byte, and nothing
// else. d is what Verify said of the signature over message.
//
// It decides on the message that the signature verifies with and on nothing that comes
// beside it, so that no other payload hides behind it: who has stolen a key can make
// canaries with it, and they say nothing that anybody would act on. A digest is never
// known to be a canary.
func CanaryOf(v *state.View, d Verdict, message []byte) (Canary, bool) {
	if !d.Valid || len(message) >= MaxCanaryBytes {
		return Canary{}, false
	}
	cluster := v.Cluster().ID
	c, item := canaryNames(message)
	if c.Check() != nil || item < 0 || item >= CanaryItems || !bytes.Equal(c.Message(cluster, item), message) {
		return Canary{}, false
	}
	return c, c.Key == d.Key && c.KID == d.KID && v.Consumer(c.Consumer) != nil
}

// canaryNames reads what stands after each name. Whether the rest is as it has to be is
// seen by writing it again.
func canaryNames(message []byte) (c Canary, item int) {
	item = -1
	for line := range strings.Lines(string(message)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "key":
			c.Key = lifecycle.KeyID(value)
		case "kid":
			c.KID = value
		case "consumer":
			c.Consumer = value
		case "instance":
			c.Instance = value
		case "nonce":
			c.Nonce = value
		case "item":
			if n, err := strconv.Atoi(value); err == nil {
				item = n
			}
		}
	}
	return c, item
}
