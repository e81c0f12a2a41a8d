package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/integration/netlab"
)

// process is one node's server: this test's own child, killed by its pid and by
// nothing else. It ends with the test, also when the test panics, because its
// standard input closes then.
type process struct {
	name   string
	config string
	log    string // file that collects standard error of every start
	env    []string
	host   *netlab.Host // where it runs; nil = here
	files  int          // how many it may open; 0 = as many as this process

	mu   sync.Mutex
	cmd  *exec.Cmd
	life io.Closer
	done chan struct{} // closed when the child has ended
}

// start runs the server. It is an error while it runs.
func (p *process) start(t *testing.T) {
	t.Helper()
	program := binary(t)
	if p.host != nil {
		program = breakableBinary(t)
	}
	if err := p.startProcess(program); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
}

func (p *process) startProcess(program string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("it runs already")
	}
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(program, "server", "--config", p.config, "--end-with-stdin")
	if p.files != 0 {
		cmd = exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, p.files)}, cmd.Args...)...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cleanEnv(), p.env...)
	if p.life, err = cmd.StdinPipe(); err != nil {
		return err
	}
	start := cmd.Start
	if p.host != nil {
		start = func() error { return p.host.Start(cmd) }
	}
	if err := start(); err != nil {
		return err
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(done)
	}(p.done)
	return nil
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

// alive reports whether the child runs, stopped or not.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// pid of the child, 0 when it does not run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

// send sends a signal; it is no error when the child has ended meanwhile.
func (p *process) send(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.cmd.Process.Signal(s) // it may end right now, which is as good
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	p.send(syscall.SIGKILL)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

// stop is SIGTERM and waits for the end, which must be in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.send(syscall.SIGTERM)
	if code := p.wait(t, 20*time.Second); code != 0 {
		t.Errorf("%s ended with exit code %d after SIGTERM\n%s", p.name, code, p.tail(20))
	}
}

// wait waits for the end and returns the exit code, -1 after a signal.
func (p *process) wait(t *testing.T, within time.Duration) int {
	t.Helper()
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	select {
	case <-done:
		return cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s still runs after %s\n%s", p.name, within, p.tail(40))
		return -1
	}
}

// text is everything the child wrote.
func (p *process) text() string {
	b, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		return err.Error()
	}
	return string(b)
}

// tail is the last n lines of it.
func (p *process) tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.text(), "\n"), "\n")
	return filepath.Base(p.log) + " of " + p.name + ":\n" + strings.Join(lines[max(0, len(lines)-n):], "\n")
}
