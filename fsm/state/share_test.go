package state

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestShare: names of a row lie in its key, and say what they said.
func TestShare(t *testing.T) {
	key, node := lifecycle.KeyID(strings.Clone("ci/release")), lifecycle.NodeID(strings.Repeat("0f", 16))
	x := hotTx{base: new(hot)}
	own := &lifecycle.Instance{Key: key, Version: 1, Node: node, KID: "kid-1"}
	x.put(TableInstances, instanceKey(key, 1, node), own)
	for _, c := range []struct {
		at  string
		row any
	}{
		{string(key), &lifecycle.Key{ID: key}},
		{versionKey(key, 1), &lifecycle.Version{Key: key, Number: 1}},
		{instanceKey(key, 1, node), &lifecycle.Instance{Key: key, Version: 1, Node: node}},
		{instanceKey(key, 1, node), &lifecycle.Tally{Key: key, Version: 1, Node: node, KID: "kid-1"}},
		{instanceKey(key, 1, node), &lifecycle.Tally{Key: key, Version: 1, Node: node, KID: "kid-2"}},
		{confirmationKey("edge", key, "pod-1"), &lifecycle.Confirmation{Consumer: "edge", Key: key, Instance: "pod-1"}},
		{confirmationKey("edge", key, ""), &lifecycle.Confirmation{Consumer: "edge", Key: key}},
		{dependentKey(key, "edge"), &NameRow{Name: "edge"}},
		{"another key", &NameRow{Name: "a name that is not in it"}},
		{"kid-1", &KIDRow{Key: key, Version: 1, Node: node}},
		{"kid-2", &KIDRow{Key: "gone", Version: 1, Node: node}},
	} {
		at, before := strings.Clone(c.at), fmt.Sprintf("%+v", c.row)
		if got := x.share(at, c.row); got != c.at {
			t.Errorf("%T: put under %q instead of %q", c.row, got, c.at)
		}
		if after := fmt.Sprintf("%+v", c.row); after != before {
			t.Errorf("%T: was %s, is %s", c.row, before, after)
		}
		if r, ok := c.row.(*lifecycle.Instance); ok && unsafe.StringData(string(r.Key)) != unsafe.StringData(at) {
			t.Error("the name of the key is in memory twice")
		}
	}
}
