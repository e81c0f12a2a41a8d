package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

func TestPauses(t *testing.T) {
	says := func(code wire.Code, after time.Duration) result {
		return result{err: wire.Errorf(code, "no"), answered: true, after: after}
	}
	dead := result{err: errors.New("connection refused")}
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		round []result
		want  []time.Duration // after as many such rounds
	}{
		"nobody answers":                     {[]result{dead, dead}, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second}},
		"all ask for a second":               {[]result{says(wire.NoLease, time.Second), says(wire.NoLease, time.Second), dead}, []time.Duration{time.Second, time.Second}},
		"one can help before the others":     {[]result{says(wire.NoLease, time.Second), says(wire.Conflict, 0)}, []time.Duration{100 * ms, 200 * ms}},
		"nobody is to be kept for a minute":  {[]result{says(wire.KeystoreLocked, time.Minute)}, []time.Duration{time.Second, time.Second}},
		"a successor is made on two nodes":   {[]result{says(wire.BeingReplaced, 0), says(wire.InstanceNotHere, time.Second), dead}, []time.Duration{15 * ms, 30 * ms, 60 * ms, 120 * ms}},
		"a successor that is long in coming": {[]result{says(wire.BeingReplaced, 0)}, []time.Duration{15 * ms, 30 * ms, 60 * ms, 120 * ms, 240 * ms, 480 * ms, 960 * ms, time.Second, time.Second}},
	} {
		var p pauses
		var got []time.Duration
		for range tt.want {
			got = append(got, p.next(tt.round))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
