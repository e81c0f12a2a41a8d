//go:build !linux

package integration

// mono is not needed where there is no laboratory.
func mono() int64 { return 0 }
