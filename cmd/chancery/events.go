package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func eventsCommand() *cli.Command {
	return looking("events", "", "what happened, oldest first", func(s *session) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		filter := []client.Option{client.Query(wire.QueryKey, s.String("key")), client.Query(wire.QueryKind, s.String("kind"))}
		if s.Bool("follow") {
			return followEvents(s, c, filter)
		}
		l, err := pages(s, func(o ...client.Option) (wire.List[wire.Event], error) {
			return c.Events(s.ctx, s.String("from"), append(o, filter...)...)
		})
		if err != nil {
			return err
		}
		return s.showPage(eventsView(l, l.Items), l.Next)
	}, append(pageFlags(),
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until stopped; with -o json one event per line"},
		&cli.StringFlag{Name: "from", Usage: "only events after this position, as in an event's id: 1-1902"},
		&cli.StringFlag{Name: "key", Usage: "only events of this key"},
		&cli.StringFlag{Name: "kind", Usage: "only events of this kind, key.revoked, or of this group, key"},
	)...)
}

func followEvents(s *session, c *client.Client, filter []client.Option) error {
	s.patient()
	for e, err := range c.Watch(s.ctx, s.String("from"), filter...) {
		switch {
		case err != nil && s.Context.Context.Err() != nil:
			return nil // stopped by hand
		case err != nil:
			return err
		}
		if err := printEvent(s, &e); err != nil {
			return fmt.Errorf("write the event: %w", err)
		}
	}
	return nil
}

func printEvent(s *session, e *wire.Event) error {
	if s.format == formatJSON {
		return json.NewEncoder(s.out).Encode(e)
	}
	cells := eventCells(e)
	_, err := fmt.Fprintln(s.out, plain(fmt.Sprintf("%s  %-20s %s  %s  %s", cells[0], cells[1], orDash(cells[2]), orDash(cells[5]), cells[4])))
	return err
}
