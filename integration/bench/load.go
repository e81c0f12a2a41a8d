//go:build linux && cgo

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is where requests go. It is spoken to in HTTP/1.1 with keep-alive, by a
// client that does next to nothing: what it costs is lost to the server, which has
// the same cores.
type target struct {
	address string
	tls     *tls.Config // nil = plain
	header  string      // lines, each with its line end
}

// request renders one request.
func (t *target) request(method, path, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, t.address, t.header)
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.WriteString(body)
	return b.Bytes()
}

// caller is one connection.
type caller struct {
	conn net.Conn
	r    *bufio.Reader
	body []byte

	keepHead bool
	head     []byte // of the last answer, to the empty line, when it is to be kept
}

func (t *target) dial() (*caller, error) {
	conn, err := net.DialTimeout("tcp", t.address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		conn = tls.Client(conn, t.tls)
	}
	return &caller{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// do sends a rendered request and reads the answer, whose body it keeps.
func (c *caller) do(request []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	status, length := 0, -1
	c.head = c.head[:0]
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if c.keepHead {
			c.head = append(c.head, line...)
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			return c.finish(status, length)
		case first:
			status = number(line[len("HTTP/1.1 "):min(len(line), len("HTTP/1.1 200"))])
		case len(line) > 15 && (line[0]|0x20) == 'c' && strings.EqualFold(string(line[:15]), "content-length:"):
			length = number(bytes.TrimSpace(line[15:]))
		}
	}
}

func (c *caller) finish(status, length int) error {
	if length < 0 {
		return fmt.Errorf("status %d without a length", status)
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.r, c.body); err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("status %d: %s", status, c.body)
	}
	return nil
}

func number(b []byte) int {
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return -1
	}
	return n
}

// load keeps callers busy against one target, or several in turn.
type load struct {
	callers []*caller
	next    func(caller, turn int) []byte // the request of a caller's turn
	seen    func(caller int, body []byte) // looks at each answer; nil = nobody does
	turns   []int
}

func newLoad(t *target, callers int, next func(caller, turn int) []byte, further ...*target) (*load, error) {
	l := &load{next: next, turns: make([]int, callers)}
	targets := append([]*target{t}, further...)
	for i := range callers {
		c, err := targets[i%len(targets)].dial()
		if err != nil {
			return nil, err
		}
		l.callers = append(l.callers, c)
	}
	return l, nil
}

func (l *load) close() {
	for _, c := range l.callers {
		_ = c.conn.Close() // nothing is in flight
	}
}

// run keeps all callers busy for a time and counts the answers.
func (l *load) run(d time.Duration) (done int, took time.Duration, err error) {
	var wg sync.WaitGroup
	var count atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	for i, c := range l.callers {
		wg.Go(func() {
			for time.Since(start) < d && failed.Load() == nil {
				if err := c.do(l.next(i, l.turns[i])); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				if l.seen != nil {
					l.seen(i, c.body)
				}
				l.turns[i]++
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		return 0, 0, *e
	}
	return int(count.Load()), time.Since(start), nil
}

// rate is answers a second.
func (l *load) rate(d time.Duration) (float64, error) {
	n, took, err := l.run(d)
	return float64(n) / took.Seconds(), err
}

// cpu is the CPU time of a process per answer, in microseconds.
func (l *load) cpu(d time.Duration, pid int) (float64, error) {
	before, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	n, _, err := l.run(d)
	if err != nil {
		return 0, err
	}
	after, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	return float64((after - before).Microseconds()) / float64(max(n, 1)), nil
}
