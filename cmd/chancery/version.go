package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/hsm"
)

// Set by the linker: -X main.version=v1.2.3 -X main.commit=... Without commit the
// one that the go tool stamped counts.
var version, commit = "devel", ""

// build is what a binary knows of itself.
type build struct {
	Version string   `json:"version"`
	Commit  string   `json:"commit"`
	Dirty   bool     `json:"dirty"`
	Go      string   `json:"go"`
	OS      string   `json:"os"`
	Arch    string   `json:"arch"`
	Drivers []string `json:"drivers"` // key stores
}

func buildInfo() build {
	b := build{Version: version, Commit: cmp.Or(commit, "unknown"), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Drivers: hsm.Drivers()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(commit, s.Value)
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

func versionCommand() *cli.Command {
	return looking("version", "", "print version, commit and key store drivers", func(s *session) error {
		b := buildInfo()
		commit := b.Commit
		if b.Dirty {
			commit += " (modified)"
		}
		drivers := strings.Join(b.Drivers, ", ")
		if drivers == "" {
			drivers = "none in this build"
		}
		v := view{value: b, names: []string{b.Version}}
		v.pair("version", b.Version)
		v.pair("commit", commit)
		v.pair("go", b.Go+" "+b.OS+"/"+b.Arch)
		v.pair("drivers", drivers)
		return s.show(v)
	})
}
