package dev

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/softkey"
)

// Options of a development cluster.
type Options struct {
	Dir      string
	Nodes    int
	KeyStore string // soft or pkcs11
	Module   string // pkcs11: "" = look for SoftHSM
	Binary   string // this program
	Say      func(format string, args ...any)
}

// MaxNodes of a development cluster.
const MaxNodes = 9

func (o *Options) check() error {
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("--nodes %d: choose 1 to %d", o.Nodes, MaxNodes)
	}
	if o.KeyStore != hsm.DriverSoft && o.KeyStore != hsm.DriverPKCS11 {
		return fmt.Errorf("--keystore %q: choose soft or pkcs11", o.KeyStore)
	}
	abs, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("find the directory: %w", err)
	}
	o.Dir = abs
	return nil
}

// Paths below the cluster's directory.
func nodeName(i int) string                 { return "n" + strconv.Itoa(i) }
func (o *Options) node(i int) string        { return filepath.Join(o.Dir, nodeName(i)) }
func (o *Options) config(i int) string      { return filepath.Join(o.node(i), "chancery.toml") }
func (o *Options) admin() string            { return filepath.Join(o.Dir, "admin") }
func (o *Options) ca() string               { return filepath.Join(o.Dir, "ca.pem") }
func (o *Options) env() string              { return filepath.Join(o.Dir, "env") }
func (o *Options) socket() string           { return filepath.Join(o.Dir, "control.sock") }
func (o *Options) softHSMConf(i int) string { return filepath.Join(o.node(i), "softhsm2.conf") }
func (o *Options) token(who string) string  { return filepath.Join(o.Dir, who+".token") }

var configTemplate = template.Must(template.New("config").Parse(`# made by chancery dev; ports are kept over restarts
node_name = "{{.Name}}"
data_dir = "data"

[listen]
api = "{{index .Addr 0}}"
public = "{{index .Addr 1}}"
node = "{{index .Addr 2}}"
gossip = "{{index .Addr 3}}"
metrics = "{{index .Addr 4}}"

[tls]
plain_public = true # loopback only

[cluster]
name = "dev"

[keystore]
driver = "{{.Driver}}"
{{- if eq .Driver "soft"}}
key_file = "keystore.key"
{{- else}}
module = {{printf "%q" .Module}}
token_label = "chancery-{{.Name}}"
pin_file = "pin"
{{- end}}

[log]
level = "info"
`))

// layOut writes configuration and key store of node i, unless they are there. given
// are the addresses of the nodes before it, and gets those of this one.
func (o *Options) layOut(i int, given map[string]bool) error {
	if _, err := os.Stat(o.config(i)); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for node %s: %w", nodeName(i), err)
	}
	if err := os.MkdirAll(o.node(i), 0o700); err != nil {
		return fmt.Errorf("make the directory of %s: %w", nodeName(i), err)
	}
	if err := o.layOutKeyStore(i); err != nil {
		return err
	}
	addr, err := freeAddresses(5, given)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := configTemplate.Execute(&b, map[string]any{"Name": nodeName(i), "Addr": addr, "Driver": o.KeyStore, "Module": o.Module}); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", nodeName(i), err)
	}
	return os.WriteFile(o.config(i), b.Bytes(), 0o600)
}

func (o *Options) layOutKeyStore(i int) error {
	if o.KeyStore == hsm.DriverSoft {
		return softkey.CreateKeyFile(filepath.Join(o.node(i), "keystore.key"))
	}
	pin := make([]byte, 8)
	rand.Read(pin) // never fails: crypto/rand ends the process instead
	path := filepath.Join(o.node(i), "pin")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(pin)+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the PIN file of %s: %w", nodeName(i), err)
	}
	return o.initToken(i, "chancery-"+nodeName(i), path)
}

// Ports of a development cluster lie below those that kernels give to outgoing
// connections, so that a node which is down finds its ports free when it comes back.
const (
	firstPort = 12000
	portCount = 20000
	portTries = 1000
)

// freeAddresses finds ports that are free for TCP and for UDP, which gossip needs, and
// not given to another node that is not running yet.
func freeAddresses(n int, given map[string]bool) (out []string, err error) {
	for try := 0; len(out) < n; try++ {
		if try == portTries {
			return nil, fmt.Errorf("find a free port: none of %d ports tried from %d on is free on 127.0.0.1", portTries, firstPort)
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+mathrand.IntN(portCount)))
		if !given[addr] && isFree(addr) {
			given[addr] = true
			out = append(out, addr)
		}
	}
	return out, nil
}

func isFree(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	return u.Close() == nil
}
