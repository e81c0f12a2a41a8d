package dev

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The control socket takes one line, "stop", "kill N" or "start N", and answers
// with one line, "ok" or what is wrong.

const controlTimeout = 30 * time.Second

// serveControl answers until the listener closes.
func (c *Cluster) serveControl(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.answer(conn)
	}
}

func (c *Cluster) answer(conn net.Conn) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	reply := "ok"
	if err := c.control(strings.Fields(line)); err != nil {
		reply = err.Error()
	}
	fmt.Fprintln(conn, reply)
}

func (c *Cluster) control(words []string) error {
	switch {
	case len(words) == 1 && words[0] == "stop":
		c.stopOnce.Do(func() { close(c.stopping) })
		return nil
	case len(words) == 2 && (words[0] == "kill" || words[0] == "start"):
		p, err := c.process(words[1])
		if err != nil {
			return err
		}
		if words[0] == "kill" {
			return p.signal(syscall.SIGKILL)
		}
		return p.start()
	}
	return fmt.Errorf("unknown word: stop, kill N or start N")
}

func (c *Cluster) process(word string) (*process, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(word, "n"))
	if err != nil || n < 1 || n > len(c.nodes) {
		return nil, fmt.Errorf("there is no node %q: n1 to n%d", word, len(c.nodes))
	}
	return c.nodes[n-1], nil
}

// Control tells the cluster that runs in dir what to do. After "stop" it returns when no
// node runs any more.
func Control(dir string, words ...string) error {
	conn, err := net.DialTimeout("unix", filepath.Join(dir, "control.sock"), 5*time.Second)
	if err != nil {
		return fmt.Errorf("no cluster runs in %s: %w", dir, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, strings.Join(words, " ")); err != nil {
		return fmt.Errorf("tell the cluster: %w", err)
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("hear from the cluster: %w", err)
	}
	if reply = strings.TrimSpace(reply); reply != "ok" {
		return errors.New(reply)
	}
	if words[0] == "stop" {
		return awaitEnd(filepath.Join(dir, "control.sock"))
	}
	return nil
}

// awaitEnd waits until the socket is gone, which is the last that a cluster removes.
func awaitEnd(socket string) error {
	for deadline := time.Now().Add(controlTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Lstat(socket); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("the nodes have not ended within %v: see their logs", controlTimeout)
}

// listenControl takes the socket; a second cluster in one directory is refused.
func (o *Options) listenControl() (net.Listener, error) {
	if conn, err := net.Dial("unix", o.socket()); err == nil {
		_ = conn.Close() // only asked whether somebody is there
		return nil, fmt.Errorf("a cluster runs in %s already: stop it with `chancery dev stop --dir %s`", o.Dir, o.Dir)
	}
	if err := os.Remove(o.socket()); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("take the control socket: %w", err)
	}
	l, err := net.Listen("unix", o.socket())
	if err != nil {
		return nil, fmt.Errorf("take the control socket: %w", err)
	}
	return l, os.Chmod(o.socket(), 0o600)
}
