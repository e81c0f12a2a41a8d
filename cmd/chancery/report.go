package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func reportCommand() *cli.Command {
	return group("report", "lists for auditors",
		looking("inventory", "", "every instance of every key: where it is, what for, how it is protected", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			l, err := pages(s, func(o ...client.Option) (wire.List[wire.InventoryItem], error) { return c.Inventory(s.ctx, o...) })
			if err != nil {
				return err
			}
			return s.showPage(inventoryView(l), l.Next)
		}, pageFlags()...),
		reportRotationCommand(), reportDependentsCommand(), reportSignaturesCommand(),
	)
}

func inventoryView(l wire.List[wire.InventoryItem]) view {
	v := view{value: l, wide: 9, head: []string{"KEY", "PURPOSE", "ALG", "VERSION", "STATE", "NODE", "CONDITION", "OWNER", "EXTRACTABLE",
		"KID", "DRIVER", "CKA_ID", "CREATED", "ACTIVATED", "TRUSTED", "OVERDUE", "BUSINESS REASON", "ATTRIBUTES"}}
	for _, i := range l.Items {
		extractable := "unknown"
		if i.Extractable != nil {
			extractable = yesNo(*i.Extractable)
		}
		v.add(string(i.KID), i.Key, string(i.Purpose), string(i.Alg), number(i.Version), i.State.String(), i.Node, i.Condition.String(), i.Owner, extractable,
			string(i.KID), string(i.Driver), i.CKAID, when(i.CreatedAt), when(i.ActivatedAt), yesNo(i.InTrustSet), yesNo(i.Overdue), i.BusinessReason, strings.Join(i.Attributes, " "))
	}
	return v
}
