package dev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// process is one node's server.
type process struct {
	options *Options
	number  int

	mu   sync.Mutex
	cmd  *exec.Cmd
	life io.Closer     // the child ends when this end of its standard input closes
	done chan struct{} // closed when the child has ended
	err  error
}

// start runs the server and watches it.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s is running", nodeName(p.number))
	}
	dir := p.options.node(p.number)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", nodeName(p.number), err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(p.options.Binary, "server", "--config", p.options.config(p.number), "--end-with-stdin")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = p.options.childEnv(p.number)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", nodeName(p.number), err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", nodeName(p.number), err)
	}
	p.cmd, p.life, p.done = cmd, stdin, make(chan struct{})
	go p.watch(cmd, p.done)
	return os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600)
}

func (p *process) watch(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(done)
}

// running is called under mu.
func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ended tells whether the server has ended, and how.
func (p *process) ended() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.running(), p.err
}

// signal sends a signal to the server this process started, and waits for its end.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	cmd, done, running := p.cmd, p.done, p.running()
	p.mu.Unlock()
	if !running {
		return fmt.Errorf("%s is not running", nodeName(p.number))
	}
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", nodeName(p.number), err)
	}
	<-done
	return nil
}

// childEnv is the environment of a server: ours without the client's variables,
// which would override its configuration.
func (o *Options) childEnv(i int) []string {
	var out []string
	for _, e := range os.Environ() {
		if len(e) < 9 || e[:9] != "CHANCERY_" {
			out = append(out, e)
		}
	}
	if o.KeyStore == "pkcs11" {
		out = append(out, "SOFTHSM2_CONF="+o.softHSMConf(i))
	}
	return out
}
