//go:build !clientonly && !windows

package main

import "testing"

// TestApprovals runs the stories of four eyes. Approval rules bind the whole cluster,
// so they have one of their own, of a single node.
func TestApprovals(t *testing.T) {
	liveStories(t, "testdata/approvals", "--nodes", "1")
}
