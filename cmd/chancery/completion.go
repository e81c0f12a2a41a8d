package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
)

// completeWord is the hidden first argument with which a shell asks: the words
// typed so far follow, the last one being completed.
const completeWord = "__complete"

var completionScripts = map[string]string{
	"bash": `_chancery() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _chancery chancery
`,
	"zsh": `#compdef chancery
_chancery() {
  local -a words_found
  words_found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if (( ${#words_found} )) && [[ -n "${words_found[1]}" ]]; then compadd -a words_found; else _files; fi
}
compdef _chancery chancery
`,
	"fish": `complete -c chancery -a '(set -l w (commandline -opc); $w[1] __complete $w[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

func completionCommand() *cli.Command {
	return looking("completion", "SHELL", "print the completion script for bash, zsh or fish", func(s *session) error {
		script, known := completionScripts[s.arg(0)]
		if !known {
			return usagef("no completion for %q: choose %s", s.arg(0), strings.Join(sortedKeys(completionScripts), ", "))
		}
		return s.write("", []byte(script), 0o644)
	})
}

// complete prints what the last word may become, one per line.
func complete(app *cli.App, words []string, out io.Writer) int {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	for _, w := range candidates(app, words[:len(words)-1], last) {
		if strings.HasPrefix(w, last) {
			fmt.Fprintln(out, w)
		}
	}
	return exitDone
}

func candidates(app *cli.App, before []string, last string) []string {
	commands, flags := app.Commands, app.Flags
	var leaf, noun *cli.Command
	given := 0
	for i := 0; i < len(before); i++ {
		w := before[i]
		if strings.HasPrefix(w, "-") {
			name, _, hasValue := strings.Cut(strings.TrimLeft(w, "-"), "=")
			if f := find(flags, name); f != nil && takesValue(f) && !hasValue {
				if i++; i == len(before) {
					return values(name)
				}
			}
			continue
		}
		j := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(w) })
		if j < 0 {
			given++
			continue
		}
		if leaf = commands[j]; noun == nil {
			noun = leaf
		}
		commands, flags = leaf.Subcommands, append(slices.Clone(app.Flags), leaf.Flags...)
	}
	switch {
	case strings.HasPrefix(last, "-"):
		var out []string
		for _, f := range flags {
			out = append(out, "--"+f.Names()[0])
		}
		slices.Sort(out)
		return out
	case len(commands) > 0:
		return names(commands)
	case leaf != nil && given == 0:
		return things(app, noun.Name, leaf.ArgsUsage)
	}
	return nil
}

// values of flags that have few.
func values(name string) []string {
	switch name {
	case "o", "output":
		return formats
	case "purpose":
		return []string{"artifact", "assertion", "certificate", "code", "status", "token"}
	case "alg":
		return []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}
	case "custody":
		return []string{"distributed", "singleton"}
	case "context":
		if all, err := loadProfiles(); err == nil {
			return sortedKeys(all.Contexts)
		}
	}
	return nil
}

const completeTimeout = 2 * time.Second // a shell that hangs on Tab is worse than none

// things completes the first argument: shells, and names of keys from the cluster
// when it answers at once.
func things(app *cli.App, noun, args string) []string {
	word, _, _ := strings.Cut(args, " ")
	switch {
	case word == "SHELL":
		return sortedKeys(completionScripts)
	case word == "KEY", word == "NAME" && noun == "key":
	default:
		return nil
	}
	p, err := resolveProfile(cli.NewContext(app, flag.NewFlagSet("completion", flag.ContinueOnError), nil))
	if err != nil || len(p.Addrs) == 0 {
		return nil
	}
	c, err := client.New(client.Config{Addrs: p.Addrs, CAFile: p.CA, CertFile: p.Cert, KeyFile: p.CertKey, TokenFile: p.TokenFile, Timeout: completeTimeout})
	if err != nil {
		return nil
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	l, err := c.Keys(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, k := range l.Items {
		out = append(out, k.Name)
	}
	return out
}
