//go:build linux && cgo

package main

import (
	"fmt"
	"slices"
)

// table prints results as they come.
type table struct{}

func (t *table) header() {
	fmt.Printf("%-58s %10s %10s  %s\n", "", "measured", "bound", "")
}

// atMost is a result that should not exceed the bound.
func (t *table) atMost(what string, got, bound float64, unit, note string) {
	t.row(what, got, bound, "<=", unit, note, got <= bound)
}

// atLeast is a result that should reach the bound.
func (t *table) atLeast(what string, got, bound float64, unit, note string) {
	t.row(what, got, bound, ">=", unit, note, got >= bound)
}

func (t *table) row(what string, got, bound float64, sign, unit, note string, kept bool) {
	verdict := "ok  "
	if !kept {
		verdict = "MISS"
	}
	fmt.Printf("%-58s %10s %10s  %s  %s\n", what, fmt.Sprintf("%.2f %s", got, unit), fmt.Sprintf("%s %.2f", sign, bound), verdict, note)
}

// median of the values; they may be reordered.
func median(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
