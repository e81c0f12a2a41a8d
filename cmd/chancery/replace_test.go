//go:build !clientonly && !windows

package main

import "testing"

// TestEmergency runs the stories of leaked keys. Nodes die in them, so they have a
// cluster of their own.
func TestEmergency(t *testing.T) {
	liveStories(t, "testdata/emergency")
}
