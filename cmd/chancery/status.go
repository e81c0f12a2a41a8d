package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/transport/wire"
)

const watchEvery = 2 * time.Second

func statusCommand() *cli.Command {
	return looking("status", "", "the cluster as one node sees it: problems first, each with the next command", func(s *session) error {
		if s.Bool("watch") {
			return watchStatus(s)
		}
		return showStatus(s)
	}, &cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again every two seconds until stopped"})
}

func watchStatus(s *session) error {
	s.patient()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if s.outIsTerminal() && s.format == formatTable {
			fmt.Fprint(s.out, "\033[H\033[2J") // home, clear
		}
		if err := showStatus(s); err != nil && s.ctx.Err() == nil {
			s.notef("chancery: %v", err) // a cluster in trouble is what one watches for
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func showStatus(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	st, err := c.Status(s.ctx)
	if err != nil {
		return err
	}
	v := view{value: st, names: []string{st.Cluster}, text: statusText(st), head: []string{"SEVERITY", "CODE", "SUBJECT", "MESSAGE", "HINT"}}
	for _, p := range st.Problems {
		v.rows = append(v.rows, []string{p.Severity, p.Code, p.Subject, p.Message, p.Hint})
	}
	return s.show(v)
}

func statusText(st *wire.Status) string {
	var b strings.Builder
	for _, p := range st.Problems {
		fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(p.Severity), p.Message)
		if p.Hint != "" {
			fmt.Fprintf(&b, "  next: %s\n", p.Hint)
		}
	}
	if len(st.Problems) == 0 {
		b.WriteString("no problems\n")
	}
	fmt.Fprintf(&b, "\ncluster %s, epoch %d, format %d, leader %s in term %d\n", st.Cluster, st.Epoch, st.Format.Current, orDash(string(st.Leader)), st.Term)
	fmt.Fprintf(&b, "voters %d, reachable %d, can lose %d more\n", st.Quorum.Voters, st.Quorum.Reachable, st.Quorum.CanLose)
	fmt.Fprintf(&b, "keys %d, overdue %d, without an active version %d; open proposals %d\n", st.Keys.Total, st.Keys.Overdue, st.Keys.WithoutActive, st.OpenProposals)
	fmt.Fprintf(&b, "answered by %s as of %s (%s), entry %d; last snapshot %s\n\n", st.AnsweredBy, when(st.AsOf), st.Freshness, st.Position.Index, when(st.LastSnapshotAt))
	for _, f := range st.OpenFences {
		fmt.Fprintf(&b, "open fence: %s\n", fenceText(&f))
	}
	if len(st.OpenFences) > 0 {
		b.WriteString("\n")
	}
	rows := [][]string{{"NODE", "STATE", "ROLES", "APPLIED", "AGE", "SIGNS", "KEY STORE", "CLOCK", "VERSION"}}
	for _, n := range st.Nodes {
		rows = append(rows, []string{n.Node, n.State, strings.Join(n.Roles, ","), number(n.AppliedIndex), millis(n.StalenessMS), signs(&n), keystoreText(&n.Keystore),
			millis(n.ClockOffsetMS), n.Version})
	}
	_ = writeColumns(&b, rows, len(rows[0]), "  ") // a strings.Builder never fails
	return b.String()
}

func fenceText(f *wire.OpenFence) string {
	about := orDash(string(f.Key))
	if f.Key == "" && f.Subject != "" {
		about = string(f.Subject)
	}
	for i, v := range f.Versions {
		about += map[bool]string{true: "/", false: ","}[i == 0] + number(v)
	}
	text := fmt.Sprintf("entry %d, %s %s, since %s", f.Index, f.Cause, about, f.OpenedAt)
	for i := range f.Nodes {
		text += "; " + f.Nodes[i].Node + " " + nodeText(&f.Nodes[i])
	}
	return text
}

func millis(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%d ms", *ms)
}

func signs(n *wire.NodeStatus) string {
	if n.Lease.Usable && n.Lease.ExpiresInMS != nil {
		return fmt.Sprintf("yes, %d ms", *n.Lease.ExpiresInMS)
	}
	if n.Lease.Usable {
		return "yes"
	}
	return strings.TrimSuffix("no: "+string(n.Lease.Why), ": ")
}

func keystoreText(k *wire.Keystore) string {
	switch {
	case k.Driver == "":
		return "-"
	case !k.OK:
		return k.Driver + ": " + orDash(string(k.Why))
	case k.Missing+k.Orphans > 0:
		return fmt.Sprintf("%s: %d missing, %d orphans", k.Driver, k.Missing, k.Orphans)
	}
	return k.Driver + " ok"
}
