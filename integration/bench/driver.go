//go:build linux && cgo

package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// driver runs the driver's own benchmark, which compares it with the bare binding
// inside one process. It needs the source, and Go.
func (b *bench) driver() error {
	out, err := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkSign$", "-benchtime", "30x", "./authority/hsm/pkcs11").CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the driver's benchmark: %w: %s", err, out)
	}
	ratio := func(way string) float64 {
		m := regexp.MustCompile(`([0-9.]+) ` + way + `/raw`).FindSubmatch(out)
		if m == nil {
			return 0
		}
		f, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0
		}
		return f
	}
	b.table.atLeast("driver, 2 sessions: rate / raw miekg", ratio("driver"), 0.9, "x", fmt.Sprintf("crypto11's own Signer: %.2f x", ratio("crypto11")))
	return nil
}
