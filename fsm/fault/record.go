//go:build chancery_faults && linux

package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// recorder is opened by the first event.
var recorder = sync.OnceValue(func() *os.File {
	path := os.Getenv(EnvRecord)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(fmt.Sprintf("open the file that %s names: %v", EnvRecord, err))
	}
	return f
})

// Now is CLOCK_MONOTONIC in nanoseconds: one clock for all processes of a machine.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // there is no Linux without it
	}
	return t.Nano()
}

// Record appends an event to the record: its name, the time, and pairs of names and
// values. An event is one write to a file opened with O_APPEND, so lines of several
// goroutines never mix, and what a killed process wrote stays.
func Record(event string, pairs ...any) {
	f := recorder()
	if f == nil {
		return
	}
	line := map[string]any{"event": event, "ns": Now(), "pid": os.Getpid()}
	for i := 0; i+1 < len(pairs); i += 2 {
		line[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	b, err := json.Marshal(line)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	if err != nil {
		panic(fmt.Sprintf("record %s: %v", event, err)) // a record with holes proves nothing
	}
}
