package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const minimal = `node_name = "n1"
data_dir = "data"
[listen]
api = "127.0.0.1:1"
public = "127.0.0.1:2"
node = "127.0.0.1:3"
gossip = "127.0.0.1:4"
[keystore]
key_file = "seal.key"
`

func load(t *testing.T, text string, environ ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chancery.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path, environ)
}

func TestConfigDefaultsAndPaths(t *testing.T) {
	c, err := load(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	if c.KeyStore.Driver != "soft" || c.Listen.Metrics != "127.0.0.1:7604" || c.Cluster.Name != "chancery" || c.Advertise.Node != "127.0.0.1:3" {
		t.Errorf("defaults are %+v", c)
	}
	if !filepath.IsAbs(c.DataDir) || filepath.Base(c.KeyStore.KeyFile) != "seal.key" {
		t.Errorf("paths are not made absolute: %q, %q", c.DataDir, c.KeyStore.KeyFile)
	}
	if got := strings.Join(c.hosts(), " "); got != "127.0.0.1" {
		t.Errorf("hosts = %q", got)
	}
}

func TestConfigEnvironmentOverrides(t *testing.T) {
	c, err := load(t, minimal, "CHANCERY_LISTEN_API=127.0.0.1:99", "CHANCERY_TLS_PLAIN_PUBLIC=true", "CHANCERY_KEYSTORE_CONCURRENCY=3",
		"CHANCERY_TLS_HOSTS=a.test,b.test", "CHANCERY_LIMITS_REQUESTS_PER_SECOND=2.5", "CHANCERY_ADDR=ignored")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.API != "127.0.0.1:99" || !c.TLS.PlainPublic || c.KeyStore.Concurrency != 3 || len(c.TLS.Hosts) != 2 || c.Limits.RequestsPerSecond != 2.5 {
		t.Errorf("the environment was not heard: %+v", c)
	}
	if _, err := load(t, minimal, "CHANCERY_KEYSTORE_CONCURRENCY=many"); err == nil || !strings.Contains(err.Error(), "CHANCERY_KEYSTORE_CONCURRENCY") {
		t.Errorf("a bad number in the environment gives %v", err)
	}
}

func TestConfigRefusals(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":      {strings.Replace(minimal, "data_dir", "data_dri", 1), `did you mean "data_dir"`},
		"unknown section":  {minimal + "[keystor]\nmodule = \"x\"\n", `did you mean "keystore`},
		"cluster-wide key": {"public_url = \"x\"\n" + minimal, "chancery cluster set public_url="},
		"not TOML":         {"node_name = \n", "line 1"},
		"no node name":     {strings.Replace(minimal, `"n1"`, `""`, 1), "node_name"},
		"bad node name":    {strings.Replace(minimal, `"n1"`, `"N 1"`, 1), "node_name"},
		"no data dir":      {strings.Replace(minimal, `data_dir = "data"`, "", 1), "data_dir is missing"},
		"no advertise":     {strings.Replace(minimal, "127.0.0.1:1", ":1", 1), "advertise.api is missing"},
		"bad listen":       {strings.Replace(minimal, "127.0.0.1:1", "here", 1), "listen.api"},
		"no such port":     {strings.Replace(minimal, "127.0.0.1:1", "127.0.0.1:99999", 1), "listen.api"},
		"no port":          {strings.Replace(minimal, "127.0.0.1:1", "127.0.0.1:", 1), "listen.api"},
		"one port twice":   {strings.Replace(minimal, "127.0.0.1:2", "127.0.0.1:1", 1), "each needs a port of its own"},
		"log level":        {minimal + "[log]\nlevel = \"loud\"\n", "log.level"},
		"unknown driver":   {minimal + "driver = \"tpm\"\n", "choose pkcs11 or soft"},
		"no sealing key":   {strings.Replace(minimal, `key_file = "seal.key"`, "", 1), "key_file or passphrase_file"},
		"half a token":     {minimal + "driver = \"pkcs11\"\nmodule = \"m.so\"\n", "pin_file"},
		"log format":       {minimal + "[log]\nformat = \"xml\"\n", "log.format"},
		"wrong type":       {minimal + "concurrency = \"two\"\n", "concurrency"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want it to say %q", err, c.want)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none.toml"), nil); err == nil {
		t.Error("a missing file is accepted")
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(minimal)
	f.Add("node_name = 1")
	f.Add("[listen]\napi = [1]")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := load(t, text); err == nil && (c.NodeName == "" || c.DataDir == "") {
			t.Errorf("accepted without name or directory: %+v", c)
		}
	})
}
