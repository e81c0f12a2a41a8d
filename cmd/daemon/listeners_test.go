package daemon

import (
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestReadyForSigningSaysWhy: a balancer's probe is where people look first.
func TestReadyForSigningSaysWhy(t *testing.T) {
	for want, row := range map[string]lifecycle.Node{
		"":                               {Name: "n1", Status: lifecycle.Member, Signer: true},
		"n1 is quarantined":              {Name: "n1", Status: lifecycle.Quarantined, Signer: true},
		"n1 has not got the role signer": {Name: "n1", Status: lifecycle.Member},
	} {
		err := signsAtAll(&row)
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
