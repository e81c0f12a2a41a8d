//go:build linux && cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	attachLimit = 20 * time.Second
	raftFile    = "/raft/" // in the path of each file of the Raft store
)

// raftSyncs counts the disk syncs of each node's Raft store under strace while do runs,
// and how many entries that made: the count for one entry, on the node with the most.
func (b *bench) raftSyncs(c *cluster, do func() error) (most float64, entries uint64, err error) {
	before, err := c.index(b)
	if err != nil {
		return 0, 0, err
	}
	var tracers []*tracer
	for node := 1; node <= nodes; node++ {
		pid, err := c.pid(node)
		if err != nil {
			return 0, 0, err
		}
		t, err := trace(filepath.Join(b.dir, "syncs-"+strconv.Itoa(node)), pid)
		if err != nil {
			return 0, 0, err
		}
		tracers = append(tracers, t)
	}
	err = do()
	after, asked := c.index(b)
	if err == nil {
		err = asked
	}
	entries = max(after-before, 1)
	for node, t := range tracers {
		n, ended := t.end()
		if err == nil {
			err = ended
		}
		b.say("n%d: %d syncs of the Raft store for %d entries", node+1, n, entries)
		most = max(most, float64(n)/float64(entries))
	}
	return most, entries, err
}

// index is that of the newest entry.
func (c *cluster) index(b *bench) (uint64, error) {
	s, err := c.client.Status(b.ctx, client.Consistency(wire.Linearizable))
	if err != nil {
		return 0, fmt.Errorf("ask for the position: %w", err)
	}
	return s.Position.Index, nil
}

// tracer is strace, attached to one process.
type tracer struct {
	cmd  *exec.Cmd
	file string
}

func trace(file string, pid int) (*tracer, error) {
	t := &tracer{file: file, cmd: exec.Command("strace", "-f", "-q", "-y", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", file, "-p", strconv.Itoa(pid))}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("count syncs: %w: run scripts/deps", err)
	}
	for end := time.Now().Add(attachLimit); !attached(pid); {
		if time.Now().After(end) {
			_ = t.cmd.Process.Kill() // it is of no use
			return nil, fmt.Errorf("strace is not attached to %d after %v", pid, attachLimit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return t, nil
}

// attached reports whether each thread of a process is traced.
func attached(pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil && strings.Contains(string(text), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

// end detaches and counts. A call that another thread interrupts is written in two
// lines, of which only the first names the file.
func (t *tracer) end() (n int, err error) {
	if err := t.cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, fmt.Errorf("detach strace: %w", err)
	}
	_ = t.cmd.Wait() // strace reports the signal
	text, err := os.ReadFile(t.file)
	if err != nil {
		return 0, fmt.Errorf("read what strace wrote: %w", err)
	}
	return bytes.Count(text, []byte(raftFile)), nil
}
