package integration

import (
	"os"
	"strings"
	"testing"
)

// TestLaboratory plays scenarios, one after another on one cluster, while callers
// sign, read and take rights away on all of its nodes; then judges everything that
// they were answered and the nodes recorded. The long ones are played with
// CHANCERY_INTEGRATION=full, chosen ones with CHANCERY_SCENARIOS=zombie,"cut off".
func TestLaboratory(t *testing.T) {
	random := seeded(t)
	c := startBreakable(t, random.Uint64(), 3, 1)
	s := c.enter(random, usual)
	for _, sc := range chosen(t) {
		s.play(sc)
	}
	condemn(t, s.close())
	checkAgreement(t, c)
}

func chosen(t *testing.T) (out []scenario) {
	t.Helper()
	words := os.Getenv(envScenes)
	for _, sc := range scenarios {
		switch {
		case words == "" && (full() || !sc.long):
			out = append(out, sc)
		case words != "":
			for word := range strings.SplitSeq(words, ",") {
				if strings.Contains(sc.name, word) {
					out = append(out, sc)
					break
				}
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s=%s chooses no scenario", envScenes, words)
	}
	return out
}
