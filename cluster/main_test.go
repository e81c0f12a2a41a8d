package cluster

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets more tests wait at a time than there are processors, because these
// tests spend their time waiting for elections.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
