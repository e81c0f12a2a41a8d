package netlab

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// EnvNoNamespaces leaves out what needs root and /dev/net/tun.
const envNoNamespaces = "CHANCERY_TEST_NO_NETNS"

func start(t *testing.T, names ...string) (*Lab, []*Host) {
	t.Helper()
	if os.Getenv(envNoNamespaces) == "1" {
		t.Skip(envNoNamespaces + "=1")
	}
	if err := Check(); err != nil {
		t.Fatalf("%v; or set %s=1", err, envNoNamespaces)
	}
	l := Start(1)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	var hosts []*Host
	for _, name := range names {
		h, err := l.AddHost(name)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return l, hosts
}

// echo listens on a host and returns a connection of another one to it.
func echo(t *testing.T, from, to *Host) net.Conn {
	t.Helper()
	listener, err := to.Listen("tcp", net.JoinHostPort(to.Addr.String(), "7000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	c, err := from.Dial(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func roundTrip(c net.Conn, within time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := c.SetDeadline(began.Add(within)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return time.Since(began), err
}

func TestLinks(t *testing.T) {
	l, h := start(t, "a", "b")
	a, b := h[0], h[1]
	c := echo(t, a, b)
	if _, err := roundTrip(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	l.Both(a, b, Link{Delay: 60 * time.Millisecond})
	if d, err := roundTrip(c, 10*time.Second); err != nil || d < 120*time.Millisecond {
		t.Errorf("with 60 ms each way a round trip took %s: %v", d, err)
	}
	l.Both(a, b, Link{Loss: 0.2, Duplicate: 0.2, Delay: time.Millisecond, Jitter: 5 * time.Millisecond})
	for range 20 {
		if _, err := roundTrip(c, 30*time.Second); err != nil {
			t.Fatal("over a bad link:", err)
		}
	}
	l.Heal()
	l.Set(b, a, Link{Cut: true})
	before := l.Passed(a, b)
	if d, err := roundTrip(c, 300*time.Millisecond); err == nil {
		t.Errorf("an answer came over a cut link after %s", d)
	}
	if l.Passed(a, b) == before {
		t.Error("the other direction was cut too")
	}
	l.Heal()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error("the answer did not come after the link was healed:", err)
	}
}

func TestApart(t *testing.T) {
	l, h := start(t, "a", "b", "c")
	l.Apart(h[:1], h[1:])
	for _, pair := range [][2]*Host{{h[0], h[1]}, {h[2], h[0]}} {
		if !l.links[pair].Cut || !l.links[[2]*Host{pair[1], pair[0]}].Cut {
			t.Errorf("%s and %s are not apart", pair[0].Name, pair[1].Name)
		}
	}
	if _, err := roundTrip(echo(t, h[1], h[2]), 10*time.Second); err != nil {
		t.Error("b and c are on one side:", err)
	}
}

// A process of a host sees that host's devices, and nothing of the machine's.
func TestProcess(t *testing.T) {
	_, h := start(t, "a")
	cmd := exec.Command("cat", "/proc/self/net/dev")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h[0].Start(cmd); err != nil {
		t.Fatal(err)
	}
	var devices []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if name, _, ok := strings.Cut(lines.Text(), ":"); ok {
			devices = append(devices, strings.TrimSpace(name))
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(devices, " "); got != "lo lab0" && got != "lab0 lo" {
		t.Errorf("its devices are %q", got)
	}
}
