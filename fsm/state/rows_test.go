package state

import "testing"

// TestHotRowsHaveRevisions: a table that was forgotten in one of the lists would show at
// its first row.
func TestHotRowsHaveRevisions(t *testing.T) {
	for _, table := range Tables {
		if !table.Hot() {
			continue
		}
		row := newRow(table)
		if row == nil {
			t.Errorf("table %s has no rows", table)
			continue
		}
		*revision(row) = 7
	}
}
