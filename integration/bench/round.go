//go:build linux && cgo

package main

import (
	"cmp"
	"fmt"
	"runtime"
	"time"
)

// side is one of the things that are compared.
type side struct {
	name    string
	target  *target
	further []*target // where the second caller goes, and the third, and so on
	callers int
	request func(caller, turn int) []byte
	seen    func(caller int, body []byte)
	pid     int      // whose CPU counts
	node    int      // that answers; 0 = none, and then none is profiled
	of      *cluster // whose node that is; nil = the one that most groups share

	load    *load
	results []float64
}

// alternate measures all sides in turn, round after round, and also whatever else
// has to be measured beside them. A first short round warms up and does not count.
func (b *bench) alternate(sides []*side, measure func(*load, time.Duration, int) (float64, error), also func() error) (err error) {
	for _, s := range sides {
		if s.load, err = newLoad(s.target, s.callers, s.request, s.further...); err != nil {
			return fmt.Errorf("connect to %s: %w", s.name, err)
		}
		s.load.seen = s.seen
		defer s.load.close()
		if _, _, err := s.load.run(b.each / 4); err != nil {
			return fmt.Errorf("warm %s up: %w", s.name, err)
		}
	}
	for round := range b.rounds {
		for _, s := range sides {
			runtime.GC() // this process's own garbage is not the server's to wait for
			var got float64
			one := func() (err error) { got, err = measure(s.load, b.each, s.pid); return err }
			if s.node != 0 && round == 0 {
				err = b.profileNodes(cmp.Or(s.of, b.cluster), s.name, one)
			} else {
				err = one()
			}
			if err != nil {
				return fmt.Errorf("measure %s: %w", s.name, err)
			}
			s.results = append(s.results, got)
			b.say("round %d %-12s %10.1f", round+1, s.name, got)
		}
		if also == nil {
			continue
		}
		if err := also(); err != nil {
			return err
		}
	}
	return nil
}
