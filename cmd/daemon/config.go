package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Config is chancery.toml: only what is local to the node. What must agree
// everywhere is in the log; see `chancery cluster set`.
type Config struct {
	NodeName  string    `toml:"node_name"`
	DataDir   string    `toml:"data_dir"`
	Listen    Listen    `toml:"listen"`
	Advertise Advertise `toml:"advertise"`
	TLS       TLS       `toml:"tls"`
	Cluster   Cluster   `toml:"cluster"`
	KeyStore  KeyStore  `toml:"keystore"`
	Limits    Limits    `toml:"limits"`
	Log       Log       `toml:"log"`
}

// Listen are the addresses the node binds.
type Listen struct {
	API     string `toml:"api"`
	Public  string `toml:"public"`
	Node    string `toml:"node"`
	Gossip  string `toml:"gossip"`
	Metrics string `toml:"metrics"` // "off" = none
}

// Advertise are the addresses others use; a missing one is the listen address,
// which then must name a host.
type Advertise struct {
	API    string `toml:"api"`
	Public string `toml:"public"`
	Node   string `toml:"node"`
	Gossip string `toml:"gossip"`
}

// TLS adjusts certificates and the public listener.
type TLS struct {
	Hosts       []string `toml:"hosts"`        // further DNS names and IP addresses in the node's certificate
	PlainPublic bool     `toml:"plain_public"` // the public listener speaks HTTP; trust anchors are then served on loopback only
}

// Cluster names the cluster this node founds.
type Cluster struct {
	Name string `toml:"name"`
}

// KeyStore says where this node's private keys live.
type KeyStore struct {
	Driver         string `toml:"driver"`
	Module         string `toml:"module"`
	TokenLabel     string `toml:"token_label"`
	TokenSerial    string `toml:"token_serial"`
	PINFile        string `toml:"pin_file"`
	KeyFile        string `toml:"key_file"`
	PassphraseFile string `toml:"passphrase_file"`
	Concurrency    int    `toml:"concurrency"`
	QueueMax       int    `toml:"queue_max"`
}

// Limits of the listeners; 0 = the default.
type Limits struct {
	Connections        int     `toml:"connections"`
	RequestsPerSecond  float64 `toml:"requests_per_second"`  // per principal
	AnonymousPerSecond float64 `toml:"anonymous_per_second"` // per remote address, public listener
}

// Log is where and how much is logged; it goes to stderr.
type Log struct {
	Format string `toml:"format"` // text or json
	Level  string `toml:"level"`  // debug, info, warn, error
}

// maxConfigBytes bounds the file.
const maxConfigBytes = 1 << 20

// clusterWide are settings people look for here; they live in the log.
var clusterWide = []string{"lease", "public_url", "checkpoint_every", "max_token_ttl", "insecure_trust_anchors", "webhooks", "approval", "retention", "policy"}

// LoadConfig reads the file, lets the environment override it, and checks the
// result. Errors name the key and what to write instead.
func LoadConfig(path string, environ []string) (Config, error) {
	c := Config{
		Listen:   Listen{API: ":7600", Public: ":7601", Node: ":7602", Gossip: ":7603", Metrics: "127.0.0.1:7604"},
		KeyStore: KeyStore{Driver: hsm.DriverSoft},
		Log:      Log{Format: "text", Level: "info"},
	}
	info, err := os.Stat(path)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	if info.Size() > maxConfigBytes {
		return c, fmt.Errorf("read the configuration %s: %d bytes, at most %d are allowed", path, info.Size(), maxConfigBytes)
	}
	meta, err := toml.DecodeFile(path, &c)
	if err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return c, fmt.Errorf("read the configuration %s: %s", path, p.ErrorWithPosition())
		}
		return c, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("read the configuration %s: %w", path, unknownKey(unknown[0].String()))
	}
	if err := override(reflect.ValueOf(&c).Elem(), "CHANCERY", environ); err != nil {
		return c, err
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	c.absolute(base)
	return c, c.check()
}

// absolute makes paths that are written relative to the file independent of where
// the process was started.
func (c *Config) absolute(base string) {
	for _, p := range []*string{&c.DataDir, &c.KeyStore.PINFile, &c.KeyStore.KeyFile, &c.KeyStore.PassphraseFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
}

// override sets what the environment names: CHANCERY_LISTEN_API for [listen] api.
func override(v reflect.Value, prefix string, environ []string) error {
	for i := range v.NumField() {
		f := v.Field(i)
		name := prefix + "_" + strings.ToUpper(v.Type().Field(i).Tag.Get("toml"))
		if f.Kind() == reflect.Struct {
			if err := override(f, name, environ); err != nil {
				return err
			}
			continue
		}
		for _, e := range environ {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				if err := set(f, value); err != nil {
					return fmt.Errorf("environment variable %s: %w", name, err)
				}
			}
		}
	}
	return nil
}

func set(f reflect.Value, value string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(value)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not a number", value)
		}
		f.SetInt(int64(n))
	case reflect.Float64:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", value)
		}
		f.SetFloat(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		f.SetBool(b)
	case reflect.Slice:
		f.Set(reflect.ValueOf(strings.Split(value, ",")))
	}
	return nil
}

func unknownKey(key string) error {
	last := key[strings.LastIndexByte(key, '.')+1:]
	if slices.Contains(clusterWide, last) {
		return fmt.Errorf("%q must agree on every node and is not set in a file: chancery cluster set %s=VALUE", key, last)
	}
	best, distance := "", len(key)
	for _, known := range keys(reflect.TypeFor[Config](), "") {
		if d := editDistance(key, known); d < distance {
			best, distance = known, d
		}
	}
	if best == "" {
		return fmt.Errorf("unknown key %q", key)
	}
	return fmt.Errorf("unknown key %q (did you mean %q?)", key, best)
}

func keys(t reflect.Type, prefix string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct {
			out = append(out, keys(f.Type, name+".")...)
		}
		out = append(out, name)
	}
	return out
}

// editDistance is Levenshtein's, over one row.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func (c *Config) check() error {
	if err := lifecycle.CheckName("node", c.NodeName); err != nil {
		return fmt.Errorf("node_name: %w", err)
	}
	if c.DataDir == "" {
		return errors.New("data_dir is missing: name the directory that is this node's alone")
	}
	c.Cluster.Name = cmp.Or(c.Cluster.Name, "chancery")
	if err := lifecycle.CheckName("cluster", c.Cluster.Name); err != nil {
		return fmt.Errorf("cluster.name: %w", err)
	}
	if err := c.Listen.check(); err != nil {
		return err
	}
	for _, a := range []struct {
		key    string
		listen string
		adv    *string
	}{{"api", c.Listen.API, &c.Advertise.API}, {"public", c.Listen.Public, &c.Advertise.Public}, {"node", c.Listen.Node, &c.Advertise.Node}, {"gossip", c.Listen.Gossip, &c.Advertise.Gossip}} {
		*a.adv = cmp.Or(*a.adv, a.listen)
		host, _, err := splitAddr(*a.adv)
		if err != nil {
			return fmt.Errorf("advertise.%s: %w", a.key, err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			return fmt.Errorf("advertise.%s is missing: others cannot reach %q; write the host they use, for example %s%s", a.key, *a.adv, c.NodeName, *a.adv)
		}
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format: %q is neither text nor json", c.Log.Format)
	}
	if _, err := c.Log.level(); err != nil {
		return err
	}
	return c.checkKeyStore()
}

// check wants an address of its own for every listener.
func (l Listen) check() error {
	taken := map[string]string{}
	for _, a := range [][2]string{{"api", l.API}, {"public", l.Public}, {"node", l.Node}, {"gossip", l.Gossip}, {"metrics", l.Metrics}} {
		key, addr := a[0], a[1]
		if key == "metrics" && addr == "off" {
			continue
		}
		_, port, err := splitAddr(addr)
		if err != nil {
			return fmt.Errorf("listen.%s: %w", key, err)
		}
		if other, found := taken[addr]; found && port != 0 {
			return fmt.Errorf("listen.%s and listen.%s are both %s: each needs a port of its own", other, key, addr)
		}
		taken[addr] = key
	}
	return nil
}

// splitAddr reads host:port; the port may have a name.
func splitAddr(addr string) (host string, port int, err error) {
	host, name, err := net.SplitHostPort(addr)
	if err != nil || name == "" {
		return "", 0, fmt.Errorf("%q is not host:port", addr)
	}
	if port, err = net.LookupPort("tcp", name); err != nil {
		return "", 0, fmt.Errorf("%q: there is no port %q: choose one from 1 to 65535", addr, name)
	}
	return host, port, nil
}

func (c *Config) checkKeyStore() error {
	k := c.KeyStore
	switch k.Driver {
	case hsm.DriverSoft:
		if (k.KeyFile == "") == (k.PassphraseFile == "") {
			return errors.New("keystore: the soft driver needs key_file or passphrase_file, one of them, outside data_dir")
		}
	case hsm.DriverPKCS11:
		if k.Module == "" || k.PINFile == "" || (k.TokenLabel == "") == (k.TokenSerial == "") {
			return errors.New("keystore: the pkcs11 driver needs module, pin_file, and token_label or token_serial")
		}
	default:
		return fmt.Errorf("keystore.driver: %q is unknown: choose pkcs11 or soft", k.Driver)
	}
	return nil
}

// hosts are the names in the node's certificate: whatever clients dial.
func (c *Config) hosts() []string {
	var out []string
	for _, a := range []string{c.Advertise.API, c.Advertise.Public, c.Advertise.Node} {
		if host, _, err := net.SplitHostPort(a); err == nil && !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	for _, h := range c.TLS.Hosts {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

func (c *Config) addrs() lifecycle.Addrs {
	return lifecycle.Addrs{Node: c.Advertise.Node, API: c.Advertise.API, Public: c.Advertise.Public, Gossip: c.Advertise.Gossip}
}

// keyStoreConfig completes the local part with what init or join decided.
func (c *Config) keyStoreConfig(dir, clusterID string) hsm.Config {
	k := c.KeyStore
	return hsm.Config{Driver: k.Driver, Module: k.Module, TokenLabel: k.TokenLabel, TokenSerial: k.TokenSerial, PINFile: k.PINFile,
		Dir: dir, DataDir: c.DataDir, KeyFile: k.KeyFile, PassphraseFile: k.PassphraseFile, ClusterID: clusterID, NodeName: c.NodeName,
		Concurrency: k.Concurrency, QueueMax: k.QueueMax}
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
