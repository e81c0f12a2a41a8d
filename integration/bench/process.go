//go:build linux && cgo

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// child is a yardstick that runs as a process of its own. It says one line when it
// is ready, answers one line to each line it is sent, and ends with its input.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ready string
}

func startChild(env []string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if c.ready, err = c.line(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return c, nil
}

func (c *child) line() (string, error) {
	s, err := c.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

// ask sends a line and waits for the number in the answer.
func (c *child) ask(line string) (float64, error) {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return 0, fmt.Errorf("ask %q: %w", line, err)
	}
	s, err := c.line()
	if err != nil {
		return 0, fmt.Errorf("ask %q: %w", line, err)
	}
	return strconv.ParseFloat(s, 64)
}

// stop closes the child's input and waits for its end.
func (c *child) stop() error {
	if err := c.in.Close(); err != nil {
		return fmt.Errorf("end the yardstick: %w", err)
	}
	return c.cmd.Wait()
}

// ticksPerSecond is USER_HZ, which Linux has fixed for user space.
const ticksPerSecond = 100

// cpuOf is the CPU time that a process has used, in user and kernel mode, all its
// threads together. Its grain is 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time: %w", err)
	}
	// proc(5): the second field is a name in parentheses; utime and stime are 14 and 15.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the CPU time: %d fields", len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// residentMiB is the resident memory of a process, and how much of it is anonymous: the
// rest are pages of files, which the kernel takes back when it needs them.
func residentMiB(pid int) (all, anonymous float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		into := map[string]*float64{"VmRSS": &all, "RssAnon": &anonymous}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the memory of %d: %w", pid, err)
		}
		*into = kib / 1024
	}
	if all == 0 || anonymous == 0 {
		return 0, 0, fmt.Errorf("read the memory of %d: no VmRSS or no RssAnon", pid)
	}
	return all, anonymous, nil
}
