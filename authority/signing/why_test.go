package signing_test

import (
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestARefusalSaysHowTheInstanceStands: with what its node has reported, if it has.
func TestARefusalSaysHowTheInstanceStands(t *testing.T) {
	for detail, want := range map[string]string{
		"":                        "is lost",
		"no object has its label": "is lost: no object has its label",
	} {
		w := build(t)
		w.ledger.Must(t, &command.ReportCondition{Key: "ci", Version: 1, Node: w.ledger.NodeID(), Condition: lifecycle.Lost, Detail: detail})
		if _, err := w.sign(hello); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v does not end in %q", err, want)
		}
	}
}
