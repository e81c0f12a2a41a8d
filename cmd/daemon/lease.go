package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// lease lets a node sign while a leader confirmed its state within the last three
// seconds. It goes away when cluster.Node is a ledger.Lease.
type lease struct{ node *cluster.Node }

// Usable implements ledger.Lease; a bounded read decides at once.
func (l lease) Usable(*state.View) error {
	if _, err := l.node.Read(context.Background(), ledger.Freshness{Level: ledger.Bounded, Within: 3 * time.Second}); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrNoLease, err)
	}
	return nil
}
