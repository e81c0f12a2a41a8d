package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// profile is which cluster to speak to and as whom. Paths are absolute.
type profile struct {
	Addrs     []string `json:"addrs"`
	CA        string   `json:"ca,omitempty"`
	Cert      string   `json:"cert,omitempty"`
	CertKey   string   `json:"cert_key,omitempty"`
	TokenFile string   `json:"token_file,omitempty"`
}

// profiles is the file contexts.json.
type profiles struct {
	Current  string             `json:"current"`
	Contexts map[string]profile `json:"contexts"`
}

// configDir is where contexts and tokens of logins are kept.
func configDir() (string, error) {
	if d := os.Getenv("CHANCERY_CONFIG_DIR"); d != "" {
		return filepath.Abs(d)
	}
	d, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration directory: %w; set CHANCERY_CONFIG_DIR", err)
	}
	return filepath.Join(d, "chancery"), nil
}

func loadProfiles() (profiles, error) {
	p := profiles{Contexts: map[string]profile{}}
	dir, err := configDir()
	if err != nil {
		return p, nil //nolint:nilerr // no home directory means no contexts
	}
	f, err := os.Open(filepath.Join(dir, "contexts.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the contexts: %w", err)
	}
	defer f.Close()
	if err := wire.Decode(f, wire.MaxAdminBytes, &p); err != nil {
		return p, fmt.Errorf("read the contexts: %w: mend %s, or move it away and add them again (chancery context add)", err, f.Name())
	}
	if p.Contexts == nil {
		p.Contexts = map[string]profile{}
	}
	return p, nil
}

func (p profiles) save() error {
	dir, err := configDir()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the contexts: %w", err)
	}
	return writePrivate(filepath.Join(dir, "contexts.json"), append(b, '\n'))
}

// writePrivate replaces a file of mode 0600 in one step.
func writePrivate(path string, b []byte) error { return replaceFile(path, b, (*os.File).Sync) }

// writeUnsynced is writePrivate for what may be lost in a power cut.
func writeUnsynced(path string, b []byte) error {
	return replaceFile(path, b, func(*os.File) error { return nil })
}

func replaceFile(path string, b []byte, sync func(*os.File) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, sync(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// resolveProfile puts flags over environment over the context; a context named by
// --context goes over the environment, because it was typed just now.
func resolveProfile(c *cli.Context) (profile, error) {
	all, err := loadProfiles()
	if err != nil {
		return profile{}, err
	}
	name := firstOf(c.String("context"), os.Getenv("CHANCERY_CONTEXT"))
	stored := all.Contexts[firstOf(name, all.Current)]
	if _, known := all.Contexts[name]; name != "" && !known {
		return profile{}, usagef("there is no context %q%s", name, didYouMean(name, slices.Sorted(maps.Keys(all.Contexts))))
	}
	return given(c, stored), nil
}

// given puts together what flags, environment and a stored context say.
func given(c *cli.Context, stored profile) profile {
	flags := profile{CA: c.String("ca"), Cert: c.String("cert"), CertKey: c.String("cert-key"), TokenFile: c.String("token-file")}
	env := profile{CA: os.Getenv("CHANCERY_CA"), Cert: os.Getenv("CHANCERY_CERT"), CertKey: os.Getenv("CHANCERY_CERT_KEY"), TokenFile: os.Getenv("CHANCERY_TOKEN_FILE")}
	order := []profile{flags, env, stored}
	if c.IsSet("context") {
		order = []profile{flags, stored, env}
	}
	var p profile
	for _, from := range order {
		p.CA = firstOf(p.CA, from.CA)
		// An identity is taken whole: a token of the context must not go along with
		// a certificate of the environment.
		if p.Cert == "" && p.TokenFile == "" {
			p.Cert, p.CertKey, p.TokenFile = from.Cert, from.CertKey, from.TokenFile
		}
	}
	fromEnv := splitAddrs(os.Getenv("CHANCERY_ADDR"), os.Getenv("CHANCERY_ADDRS"))
	for _, list := range [][]string{splitAddrs(c.StringSlice("addr")...), fromEnv, stored.Addrs} {
		if c.IsSet("context") && !c.IsSet("addr") {
			list = stored.Addrs
		}
		if len(list) > 0 {
			p.Addrs = list
			break
		}
	}
	return p
}

func splitAddrs(lists ...string) []string {
	var out []string
	for _, l := range lists {
		for _, a := range strings.Split(l, ",") {
			if a = strings.TrimSpace(a); a != "" && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func contextCommand() *cli.Command {
	return group("context", "named sets of address, CA and credentials",
		looking("add", "NAME", "keep --addr, --ca, --cert, --cert-key and --token-file under a name", addContext),
		looking("use", "NAME", "make a context the one that is used when nothing is said", useContext),
		looking("list", "", "list contexts; the one in use has a star", listContexts),
	)
}

func addContext(s *session) error {
	name := s.arg(0)
	if err := lifecycle.CheckName("context", name); err != nil {
		return usagef("%v", err)
	}
	p := given(s.Context, profile{}) // not what the context in use says
	if len(p.Addrs) == 0 {
		return usagef("a context needs an address: --addr node1:7600,node2:7600")
	}
	for _, path := range []*string{&p.CA, &p.Cert, &p.CertKey, &p.TokenFile} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
		*path = abs
	}
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	all.Contexts[name] = p
	if all.Current == "" {
		all.Current = name
	}
	if err := all.save(); err != nil {
		return err
	}
	s.notef("context %s is kept; %s is in use", name, all.Current)
	return nil
}

func useContext(s *session) error {
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	name := s.arg(0)
	if _, known := all.Contexts[name]; !known {
		return usagef("there is no context %q%s", name, didYouMean(name, slices.Sorted(maps.Keys(all.Contexts))))
	}
	all.Current = name
	return all.save()
}

func listContexts(s *session) error {
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	v := view{value: all, head: []string{"USED", "NAME", "ADDRS", "CA", "TOKEN"}}
	for _, name := range slices.Sorted(maps.Keys(all.Contexts)) {
		p, star := all.Contexts[name], ""
		if name == all.Current {
			star = "*"
		}
		v.add(name, star, name, strings.Join(p.Addrs, ","), p.CA, p.TokenFile)
	}
	return s.show(v)
}
