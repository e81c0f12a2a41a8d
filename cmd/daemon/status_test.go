package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/cluster"
)

// TestLeaseOfAnotherNode: what is said of it is never shorter than what it may have.
func TestLeaseOfAnotherNode(t *testing.T) {
	const longest = 3 * time.Second
	usable := cluster.LeaseReport{Usable: true, ExpiresInMS: 2400}
	none := cluster.LeaseReport{Why: "its key store does not work"}
	for name, c := range map[string]struct {
		lease cluster.LeaseReport
		ageMS int64
		heard bool
		left  time.Duration // 0 = none
		why   string
	}{
		"heard, and renewed since":          {usable, 100, true, 2900 * time.Millisecond, ""},
		"heard, and has none":               {none, 100, true, 0, "key store"},
		"lost a moment ago":                 {usable, 2000, false, time.Second, ""},
		"lost before it had its first":      {none, 2000, false, time.Second, ""},
		"lost for longer than a lease":      {usable, 3000, false, 0, "not heard"},
		"lost for long, and had none":       {none, 60000, false, 0, "not heard"},
		"heard for longer than a lease ago": {cluster.LeaseReport{Why: "it ran out"}, 3100, true, 0, "ran out"},
	} {
		r := cluster.Report{AgeMS: c.ageMS, Lease: c.lease}
		ok, why, left := leaseOf(r, c.heard, longest)
		if ok != (c.left > 0) || (left != nil) != ok || left != nil && *left != c.left || !strings.Contains(why, c.why) {
			t.Errorf("%s: usable %v, why %q, left %v", name, ok, why, left)
		}
	}
}
