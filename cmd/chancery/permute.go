package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute puts argv in the order that urfave/cli reads: global flags, the command
// words, the command's flags, "--", arguments. It lets flags stand anywhere after
// the command word, keeps values with their flags, and refuses what looks like a
// flag and is none, which urfave/cli would take for an argument in silence.
func permute(app *cli.App, argv []string) ([]string, error) {
	p := &permuter{app: app, commands: app.Commands}
	rest := argv[1:]
	if len(rest) == 1 && rest[0] == "--version" { // elsewhere it is the version of a key
		rest = []string{"version"}
	}
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			p.args = append(p.args, rest...)
			rest = nil
		case len(word) > 1 && word[0] == '-':
			used, err := p.flag(word, rest)
			if err != nil {
				return nil, err
			}
			rest = rest[used:]
		default:
			if err := p.word(word); err != nil {
				return nil, err
			}
		}
	}
	return p.join(argv[0])
}

type permuter struct {
	app      *cli.App
	path     []*cli.Command // from the noun to the verb
	commands []*cli.Command // what may come next; empty at a leaf
	global   []string
	local    []pending
	args     []string
}

// pending is a flag that is checked against the command once that is known.
type pending struct {
	name  string
	words []string
}

func (p *permuter) word(word string) error {
	if len(p.commands) == 0 {
		p.args = append(p.args, word)
		return nil
	}
	i := slices.IndexFunc(p.commands, func(c *cli.Command) bool { return c.HasName(word) })
	if i < 0 && p.name() == "help" { // no topic: `help key create` is `key create --help`
		p.path, p.commands = nil, p.app.Commands
		p.local = append(p.local, pending{"help", []string{"--help"}})
		return p.word(word)
	}
	if i < 0 {
		known := names(p.commands)
		prefix := "chancery " + p.name()
		return usagef("unknown command %q%s\nsee: %s", strings.TrimSpace(p.name()+" "+word), didYouMean(word, known), strings.TrimSpace(prefix)+" --help")
	}
	p.path = append(p.path, p.commands[i])
	p.commands = p.commands[i].Subcommands
	return nil
}

// name is the command so far, "key create".
func (p *permuter) name() string {
	words := make([]string, len(p.path))
	for i, c := range p.path {
		words[i] = c.Name
	}
	return strings.Join(words, " ")
}

// flag takes one flag and tells how many of the following words are its value.
func (p *permuter) flag(word string, rest []string) (used int, err error) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if name == "help" || name == "h" {
		p.local = append(p.local, pending{"help", []string{"--help"}})
		return 0, nil
	}
	f := find(p.app.Flags, name)
	isGlobal := f != nil && (len(p.path) == 0 || find(p.path[len(p.path)-1].Flags, name) == nil)
	if f == nil || !isGlobal {
		f = p.findLocal(name)
	}
	if f == nil {
		return 0, usagef("unknown flag %s%s", strings.SplitN(word, "=", 2)[0], didYouMeanFlag(name, p.known()))
	}
	words := []string{word}
	if !hasValue && takesValue(f) {
		if len(rest) == 0 {
			return 0, usagef("flag %s needs a value", word)
		}
		words = append(words, rest[0])
		used = 1
	}
	if isGlobal {
		p.global = append(p.global, words...)
	} else {
		p.local = append(p.local, pending{name, words})
	}
	return used, nil
}

// findLocal looks for a flag of the command so far, or of one below it: then the
// rest of the command word is still to come.
func (p *permuter) findLocal(name string) cli.Flag {
	if len(p.path) == 0 {
		return findBelow(p.commands, name)
	}
	last := p.path[len(p.path)-1]
	if f := find(last.Flags, name); f != nil {
		return f
	}
	return findBelow(last.Subcommands, name)
}

func findBelow(commands []*cli.Command, name string) cli.Flag {
	for _, c := range commands {
		if f := find(c.Flags, name); f != nil {
			return f
		}
		if f := findBelow(c.Subcommands, name); f != nil {
			return f
		}
	}
	return nil
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return !ok || d.TakesValue()
}

// known are the names of the flags that could stand here.
func (p *permuter) known() []string {
	flags := p.app.Flags
	if len(p.path) > 0 {
		flags = append(slices.Clone(flags), p.path[len(p.path)-1].Flags...)
	}
	var out []string
	for _, f := range flags {
		out = append(out, f.Names()[0])
	}
	return out
}

// join writes the new argv.
func (p *permuter) join(program string) ([]string, error) {
	out := append([]string{program}, p.global...)
	for _, c := range p.path {
		out = append(out, c.Name)
	}
	for _, l := range p.local {
		if l.name == "help" {
			return append(out, "--help"), nil
		}
		if len(p.path) == 0 || find(p.path[len(p.path)-1].Flags, l.name) == nil {
			return nil, usagef("chancery %s has no flag --%s%s", p.name(), l.name, didYouMeanFlag(l.name, p.known()))
		}
		out = append(out, l.words...)
	}
	switch p.name() {
	case "":
		return append(out, "--help"), nil
	case "help":
		return append(out[:1:1], "--help"), nil
	}
	return append(append(out, "--"), p.args...), nil
}
