//go:build chancery_faults && linux

package fault

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// obey takes commands as JSON lines, from any number of connections.
func obey(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(fmt.Sprintf("listen where %s says: %v", EnvControl, err))
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go attend(conn)
	}
}

func attend(conn net.Conn) {
	defer conn.Close()
	lines, out := bufio.NewScanner(conn), json.NewEncoder(conn)
	for lines.Scan() {
		var c Command
		var r Reply
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			r.Error = err.Error()
		} else {
			r = c.carryOut()
		}
		if err := out.Encode(r); err != nil {
			return // whoever asked has gone
		}
	}
}

func (c Command) carryOut() (r Reply) {
	if c.Clear {
		disarm()
	}
	if o := c.Order; o != nil {
		switch o.Do {
		case "", Stop, Sleep, Kill, Fail, Wrong, Keep, Replay:
			arm(*o)
		default:
			r.Error = fmt.Sprintf("nothing called %q can happen at a point", o.Do)
		}
	}
	if c.Seed != "" {
		Seed(c.Seed, c.On)
	}
	if c.Clock != nil {
		bend(*c.Clock)
	}
	if c.Met != "" {
		r.Met = met(c.Met)
	}
	return r
}
