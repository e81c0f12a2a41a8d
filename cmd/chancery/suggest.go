package main

import "strings"

// didYouMean names what somebody probably meant, or nothing.
func didYouMean(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return ": did you mean " + best + "?"
	}
	return ""
}

func didYouMeanFlag(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return ": did you mean --" + best + "?"
	}
	return ""
}

// nearest finds the known word with the fewest typing errors, at most one per
// three letters, or one that begins with what was typed.
func nearest(word string, known []string) string {
	best, least := "", 1+len(word)/3
	for _, k := range known {
		d := distance(word, k)
		if len(word) >= 3 && strings.HasPrefix(k, word) {
			d = 1
		}
		if d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
