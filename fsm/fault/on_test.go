//go:build chancery_faults && linux

package fault

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envChild makes the test binary a process that is broken on purpose.
const envChild = "CHANCERY_FAULT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(envChild) == "1" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child passes its points until its standard input closes.
func child() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		Reached(in.Text())
		Record("passed", "point", in.Text(), "seeded", On(NoGate))
		os.Stdout.WriteString("passed\n")
	}
}

// broken is a child with a control channel and a record.
type broken struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     *os.File
	out    *bufio.Scanner
	record string
	conn   net.Conn
}

func start(t *testing.T) *broken {
	t.Helper()
	dir := t.TempDir()
	b := &broken{t: t, cmd: exec.Command(os.Args[0]), record: filepath.Join(dir, "record")}
	socket := filepath.Join(dir, "s")
	b.cmd.Env = append(os.Environ(), envChild+"=1", EnvFaults+"="+NoGate+","+NoWait, EnvControl+"="+socket, EnvRecord+"="+b.record)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Stdin, b.in, b.out = r, w, bufio.NewScanner(out)
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { b.in.Close(); b.cmd.Process.Kill(); b.cmd.Wait(); b.conn.Close() })
	for deadline := time.Now().Add(10 * time.Second); b.conn == nil; time.Sleep(5 * time.Millisecond) {
		if b.conn, err = net.Dial("unix", socket); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	return b
}

func (b *broken) order(c Command) Reply {
	b.t.Helper()
	var r Reply
	if err := json.NewEncoder(b.conn).Encode(c); err != nil {
		b.t.Fatal(err)
	}
	if err := json.NewDecoder(b.conn).Decode(&r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *broken) pass(point string) { b.in.WriteString(point + "\n") }

func (b *broken) events() string {
	b.t.Helper()
	text, err := os.ReadFile(b.record)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestPoints(t *testing.T) {
	b := start(t)
	b.order(Command{Order: &Order{Point: SignAtGate, Do: Stop, Times: 1}})
	b.pass(SignAtGate)
	var status unix.WaitStatus
	if _, err := unix.Wait4(b.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the process did not stop: %v %v", status, err)
	}
	if text := b.events(); !strings.Contains(text, `"event":"reached"`) || strings.Contains(text, `"event":"passed"`) {
		t.Errorf("a stopped process recorded:\n%s", text)
	}
	if err := b.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.pass(SignAtGate) // the order is used up
	for range 2 {
		if !b.out.Scan() {
			t.Fatal("it did not go on")
		}
	}
	if r := b.order(Command{Met: SignAtGate}); r.Met != 1 {
		t.Errorf("the point was met %d times", r.Met)
	}
	if text := b.events(); strings.Count(text, `"seeded":true`) != 2 {
		t.Errorf("%s does not show:\n%s", NoGate, text)
	}
	if r := b.order(Command{Order: &Order{Point: FenceAck, Do: "explode"}}); r.Error == "" {
		t.Error("an order that nobody knows was taken")
	}
	b.order(Command{Order: &Order{Point: FenceAck, Do: Kill}})
	b.pass(FenceAck)
	if err := b.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("after a kill: %v", err)
	}
}

func TestSeed(t *testing.T) {
	Seed(StaleGood, true)
	Seed(NoNonce, true)
	Seed(StaleGood, false)
	if On(StaleGood) || !On(NoNonce) || On(NoGate) {
		t.Error("the set of seeded faults is not what was asked for")
	}
	Seed(NoNonce, false)
}

func TestClock(t *testing.T) {
	defer bent.Store(nil)
	raw, boot := reading(unix.CLOCK_MONOTONIC_RAW), reading(unix.CLOCK_BOOTTIME)
	if Raw(raw) != raw || Boot(boot) != boot {
		t.Error("clocks are distorted that were left alone")
	}
	bend(Distortion{Rate: 2})
	in := bent.Load().raw.in
	if d := Raw(in+10*time.Second) - Raw(in); d != 20*time.Second {
		t.Errorf("at twice the rate 10 s last %s", d)
	}
	bend(Distortion{Rate: 0.5})
	l := bent.Load()
	if l.raw.out < l.raw.in || l.raw.out > l.raw.in+time.Minute {
		t.Errorf("the clock jumped by %s when its rate changed", l.raw.out-l.raw.in)
	}
	before, _ := Raw(l.raw.in), Boot(l.boot.in)
	gap := Boot(l.boot.in) - Raw(l.raw.in)
	bend(Distortion{BootMS: 60_000})
	l = bent.Load()
	if grown := Boot(l.boot.in) - Raw(l.raw.in) - gap; (grown - time.Minute).Abs() > 10*time.Millisecond {
		t.Errorf("a suspend of a minute shows as %s", grown)
	}
	if Raw(l.raw.in) < before {
		t.Error("a clock went back")
	}
}
