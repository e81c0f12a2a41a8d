package state

import "testing"

// TestEveryRowHasARevision: put panics on a row without one, when a cluster first
// writes it.
func TestEveryRowHasARevision(t *testing.T) {
	for _, table := range Tables {
		row := newRow(table)
		if row == nil {
			continue // bytes, not a row
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("table %s: %v", table, r)
				}
			}()
			if *revision(row) = 7; *revision(row) != 7 {
				t.Errorf("table %s: the revision is not kept", table)
			}
		}()
	}
}
