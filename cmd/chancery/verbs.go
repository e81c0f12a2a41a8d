package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// keyVerbRow is what one verb does to a version. The states come out of the
// transition table and the roles out of the access rules, so that this cannot say
// anything else than what happens.
type keyVerbRow struct {
	Verb       string   `json:"verb"`
	From       []string `json:"from"`
	State      string   `json:"state"`
	InJWKS     string   `json:"in_jwks"`
	MaySign    string   `json:"may_sign"`
	Fenced     string   `json:"fenced"` // whether it is waited for until no node signs any more
	Reversible string   `json:"reversible"`
	WhoMay     []string `json:"who_may"`
}

// verbRows lists the verbs in the order of a key's life.
func verbRows() []keyVerbRow {
	rows := []keyVerbRow{
		{Verb: "create", State: lifecycle.PreActivation.String() + ", then " + lifecycle.Active.String(), InJWKS: "yes", MaySign: "once active", Fenced: "no", Reversible: "no: names are never reused", WhoMay: whoMay(access.KeyCreate)},
		{Verb: "replace --emergency", State: lifecycle.PreActivation.String() + ", at once " + lifecycle.Active.String() + " (the new version); the old ones as revoke says", InJWKS: "the new version, at once", MaySign: "with the first key pair that is made", Fenced: "the old versions", Reversible: "no", WhoMay: whoMay(access.KeyReplace)},
		{Verb: "rotate", State: lifecycle.PreActivation.String() + " (the new version)", InJWKS: "yes, before it signs", MaySign: "no: proofs of possession only", Fenced: "no", Reversible: "yes: rotation rollback, before it is activated", WhoMay: whoMay(access.KeyRotate)},
	}
	for _, r := range []struct {
		name       string
		verb       lifecycle.Verb
		jwks       string
		reversible string
		access     access.Verb
	}{
		{"activate", lifecycle.Activate, "yes; the old version stays", "no: rotate again", access.KeyActivate},
		{"suspend", lifecycle.Suspend, "yes", "yes: resume", access.KeySuspend},
		{"resume", lifecycle.Resume, "as before", "yes: suspend", access.KeyResume},
		{"deactivate", lifecycle.Deactivate, "until the verify window ends", "no: rotate", access.KeyDeactivate},
		{"revoke, not for a compromise", lifecycle.Retire, "until the verify window ends; no with --distrust", "no: rotate", access.KeyRevoke},
		{"revoke for a compromise", lifecycle.Compromise, "no, at once", "no, never", access.KeyRevoke},
		{"revoke certificateHold", lifecycle.Suspend, "yes", "yes: resume", access.KeyRevoke},
		{"destroy", lifecycle.Destroy, "no", "with --cancel until it begins", access.KeyDestroy},
	} {
		from, to := reach(r.verb)
		rows = append(rows, keyVerbRow{Verb: r.name, From: from, State: strings.Join(to, " or "), InJWKS: r.jwks, MaySign: maySign(to), Fenced: fenced(r.verb, from, to), Reversible: r.reversible, WhoMay: whoMay(r.access)})
	}
	return rows
}

// fenced says whether the verb ends the signing of some version, so that the command
// waits until that has happened on every node.
func fenced(verb lifecycle.Verb, from, to []string) string {
	active := lifecycle.Active.String()
	switch {
	case verb == lifecycle.Activate:
		return "the version before it, with --wait fenced"
	case slices.Contains(from, active) && !slices.Contains(to, active):
		return "yes"
	}
	return "no"
}

// reach lists the states a verb leads from and to.
func reach(verb lifecycle.Verb) (from, to []string) {
	for _, s := range lifecycle.States {
		for _, before := range []lifecycle.State{lifecycle.PreActivation, lifecycle.Active, lifecycle.Deactivated} {
			next, ok := lifecycle.Next(s, verb, before)
			if !ok {
				continue
			}
			if !slices.Contains(from, s.String()) {
				from = append(from, s.String())
			}
			if !slices.Contains(to, next.String()) {
				to = append(to, next.String())
			}
		}
	}
	return from, to
}

func maySign(states []string) string {
	switch {
	case len(states) == 1 && states[0] == lifecycle.Active.String():
		return "yes"
	case slices.Contains(states, lifecycle.Active.String()):
		return "as before"
	}
	return "no"
}

// whoMay asks the access rules with a principal of each role in turn.
func whoMay(verb access.Verb) []string {
	var out []string
	for _, r := range lifecycle.Roles {
		p := &lifecycle.Principal{Grants: []lifecycle.Grant{{Role: r, Keys: "*"}}}
		if access.Decide(p, verb, "key").Allowed {
			out = append(out, string(r))
		}
	}
	return out
}

func helpCommand() *cli.Command {
	return group("help", "what --help says of a command, and more: verbs, exit-codes",
		looking("verbs", "", "what each verb does to a key", func(s *session) error {
			rows := verbRows()
			v := view{value: rows, head: []string{"VERB", "RESULTING STATE", "IN THE JWKS?", "MAY SIGN?", "FENCED?", "REVERSIBLE?", "WHO MAY", "FROM"}, wide: 7}
			for _, r := range rows {
				v.add(r.Verb, r.Verb, r.State, r.InJWKS, r.MaySign, r.Fenced, r.Reversible, strings.Join(r.WhoMay, ", "), orDash(strings.Join(r.From, ", ")))
			}
			return s.show(v)
		}),
		looking("exit-codes", "", "what the exit codes mean", func(s *session) error {
			v := view{head: []string{"CODE", "MEANING"}}
			codes := map[string]string{}
			for code, meaning := range exitMeanings {
				v.add(fmt.Sprint(code), fmt.Sprint(code), meaning)
				codes[fmt.Sprint(code)] = meaning
			}
			v.value = codes
			return s.show(v)
		}),
	)
}

// exitMeanings by code.
var exitMeanings = [...]string{
	exitDone:        "done",
	exitRefused:     "refused or invalid",
	exitUsage:       "the command line says nothing that could be done",
	exitUnavailable: "no node could do it, or a wait timed out: the operation goes on",
	exitUnknown:     "the outcome is not known: repeat with the printed request id, it cannot happen twice",
	exitCheckFailed: "a check was carried out and failed",
	exitPending:     "it waits for approval",
}
