package pki

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const example = `
usage            = ["digitalSignature", "keyEncipherment"]
extended_usage   = ["serverAuth", "1.3.6.1.5.5.7.3.17"]
keys             = ["P-256", "RSA-3072"]
default_validity = "24h"
max_validity     = "168h"
backdate         = "5m"
common_name      = "first"

[[names]]
requester = "web-*"
dns       = ["*.web.corp.test"]
ips       = ["10.0.0.0/8"]

[[names]]
requester = "role:operator"
dns       = ["**"]
`

func TestParseProfile(t *testing.T) {
	p, err := ParseProfile([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if p.DefaultValidity != lifecycle.Day || len(p.Names) != 2 || p.Names[1].DNS[0] != "**" {
		t.Errorf("%+v", p)
	}
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(p); err != nil {
		t.Fatal(err)
	}
	again, err := ParseProfile(b.Bytes())
	if err != nil || NewProfile("x", 1, again).Hash != NewProfile("x", 1, p).Hash {
		t.Errorf("written and read again it differs: %v\n%s", err, b.String())
	}
	for name, change := range map[string]struct{ old, new, says string }{
		"unknown field":       {"backdate", "back_date", "unknown field"},
		"usage":               {"digitalSignature", "keyCertSign", "choose from"},
		"any purpose":         {"1.3.6.1.5.5.7.3.17", "2.5.29.37.0", "no object identifier of one purpose"},
		"extended usage":      {"serverAuth", "server", "choose from"},
		"key":                 {"RSA-3072", "RSA-1024", "RSA-1024"},
		"default beyond most": {`"24h"`, `"240h"`, "default_validity"},
		"dns pattern":         {"*.web.corp.test", "a.**.test", "dns pattern"},
		"ip range":            {"10.0.0.0/8", "10.0.0.1/8", "address range"},
		"role":                {"role:operator", "role:god", "unknown role"},
		"common name":         {`"first"`, `"any"`, "common_name"},
		"no TOML":             {"usage ", "usage[", ""},
	} {
		if _, err := ParseProfile([]byte(strings.Replace(example, change.old, change.new, 1))); !errors.Is(err, ErrProfile) || !strings.Contains(err.Error(), change.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseProfile(make([]byte, MaxProfileBytes+1)); !errors.Is(err, ErrProfile) {
		t.Errorf("oversize: %v", err)
	}
}

func TestBuiltins(t *testing.T) {
	for _, name := range append(Builtins(), lifecycle.ProfileOCSP) {
		if err := CheckProfile(&Builtin(name).Terms); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(Builtins()) != 4 {
		t.Errorf("built-in profiles: %v", Builtins())
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(example))
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := ParseProfile(in); err == nil {
			if err := CheckProfile(&p); err != nil {
				t.Error(err)
			}
		}
	})
}
