package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func rotationCommand() *cli.Command {
	return group("rotation", "the plan of a key: what comes next, and who it waits for",
		looking("list", "", "list rotations under way, paused or on their way out", listRotations, append(pageFlags(),
			&cli.StringFlag{Name: "state", Usage: "waiting (for somebody, not for time alone), paused or all", DefaultText: "under way"})...),
		looking("show", "NAME", "how far the versions of a key have come, and what they wait for", showRotation),
		changing("pause", "NAME", "hold the plan of a key; revocations and emergencies go on", pauseRotation,
			&cli.StringFlag{Name: "reason", Usage: "why, for whoever finds it paused"}),
		changing("resume", "NAME", "let the plan of a key go on", resumeRotation, commentFlag()),
		changing("skip", "NAME", "open a gate before its time: verifiers may not know the new key, or still need the old one", skipGate, append(governedFlags(),
			&cli.StringFlag{Name: "gate", Usage: "activate or withdraw", DefaultText: "the one that a version stands before"}, versionFlag(), commentFlag())...),
		changing("rollback", "NAME", "give the next version up, as long as it has not signed", rollBack, versionFlag(), commentFlag(), fenceFlag()),
	)
}

func listRotations(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.KeyRotation], error) {
		return c.Rotations(s.ctx, append(o, client.Query(wire.QueryState, s.String("state")))...)
	})
	if err != nil {
		return err
	}
	v := view{value: l, wide: 7, head: []string{"KEY", "SIGNS", "VERSION", "PHASE", "NEXT", "EARLIEST", "WAITS FOR", "PAUSED BY", "RETIRING", "OWNER"}}
	for _, r := range l.Items {
		v.add(r.Key, r.Key, number(r.ActiveVersion), number(r.Rotation.Version), r.Rotation.Phase, orDash(r.Rotation.Next), when(r.Rotation.EarliestAt),
			orDash(strings.Join(blockers(r.Rotation.WaitsFor), ", ")), orDash(string(r.Rotation.PausedBy)), retiringText(r.Rotation.Retiring), r.Owner)
	}
	return s.showPage(v, l.Next)
}

func blockers(waits []wire.Blocker) (out []string) {
	for _, b := range waits {
		out = append(out, strings.TrimSpace(b.Kind+" "+b.Name))
	}
	return out
}

func retiringText(steps []wire.Step) string {
	var parts []string
	for _, r := range steps {
		parts = append(parts, fmt.Sprintf("%d %s", r.Version, r.Phase))
	}
	return orDash(strings.Join(parts, ", "))
}

func showRotation(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	r, err := c.Rotation(s.ctx, s.arg(0))
	if err != nil {
		return err
	}
	v := view{value: r, names: []string{r.Key}}
	v.pair("key", r.Key)
	v.pair("owner", r.Owner)
	v.pair("active version", number(r.ActiveVersion))
	if r.Overdue {
		v.pair("overdue", "the active version is older than the policy wants")
	}
	rotationPairs(&v, &r.Rotation)
	return s.show(v)
}

// rotationPairs are the lines about a rotation, in key show too.
func rotationPairs(v *view, r *wire.Rotation) {
	if r.Paused {
		v.pair("paused", fmt.Sprintf("since %s by %s: %s", when(r.PausedAt), r.PausedBy, r.PauseReason))
	}
	switch {
	case r.Phase == "idle":
		v.pair("rotation", "none under way"+nextText(&r.Step))
	case r.Version == 0:
		v.pair("rotation", r.Phase)
	default:
		v.pair("rotation", fmt.Sprintf("version %d is %s%s", r.Version, r.Phase, nextText(&r.Step)))
	}
	waitPairs(v, r.WaitsFor)
	for _, old := range r.Retiring {
		v.pair("retiring", fmt.Sprintf("version %d is %s%s", old.Version, old.Phase, nextText(&old)))
		waitPairs(v, old.WaitsFor)
	}
}

func nextText(s *wire.Step) string {
	switch {
	case s.Next == "":
		return ""
	case s.EarliestAt == 0:
		return ", next: " + s.Next
	}
	return fmt.Sprintf(", next: %s, not before %s", s.Next, when(s.EarliestAt))
}

func waitPairs(v *view, waits []wire.Blocker) {
	for _, b := range waits {
		text := strings.TrimSpace(b.Kind + " " + b.Name)
		if b.Kind == "consumer" {
			text += " of " + b.Owner
		}
		if b.Detail != "" {
			text += ": " + b.Detail
		}
		if b.Hint != "" {
			text += "; see: " + b.Hint
		}
		v.pair("waits for", text)
	}
}

func pauseRotation(s *session) error {
	if s.String("reason") == "" {
		return usagef("chancery rotation pause needs --reason: whoever finds the plan paused must know what to wait for")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	op, err := c.PauseRotation(s.ctx, s.arg(0), wire.PauseRotation{Reason: s.String("reason")}, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}

func resumeRotation(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	op, err := c.ResumeRotation(s.ctx, s.arg(0), wire.ResumeRotation{Comment: s.String("comment")}, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}

func skipGate(s *session) error {
	in := wire.SkipGate{Version: s.Uint64("version"), Gate: lifecycle.Gate(s.String("gate")), Comment: s.String("comment")}
	if in.Gate != "" {
		if _, err := lifecycle.ParseGate(string(in.Gate)); err != nil {
			return usagef("--gate: %v", err)
		}
	}
	if in.Comment == "" {
		return usagef("chancery rotation skip needs --comment: say why verifiers are not waited for")
	}
	return s.carry(governedLevels, func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.SkipGate(s.ctx, s.arg(0), in, o...)
	})
}

func rollBack(s *session) error {
	in := wire.RollBack{Version: s.Uint64("version"), Comment: s.String("comment")}
	if in.Comment == "" {
		return usagef("chancery rotation rollback needs --comment: say what is wrong with the version")
	}
	return s.withdraw(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.RollBack(s.ctx, s.arg(0), in, o...)
	})
}
