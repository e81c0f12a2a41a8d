package api

import (
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/transport/wire"
)

// reportPage begins a report about all keys: whether the caller may have it, in which
// format, and how much of it.
func (c *call) reportPage() (format string, limit int, err error) {
	if err := c.may(access.ReportRead, ""); err != nil {
		return "", 0, err
	}
	if format, err = c.reportFormat(); err != nil {
		return "", 0, err
	}
	if limit, err = c.limit(); err != nil {
		return "", 0, err
	}
	if format == "csv" && c.query.Get(wire.QueryLimit) == "" {
		limit = int(^uint(0) >> 1) // a file is wanted whole
	}
	return format, limit, nil
}

var inventoryColumns = []string{"key", "purpose", "alg", "bits", "owner", "business_reason", "version", "state", "node", "kid", "condition",
	"driver", "cka_id", "attributes", "extractable", "created_at", "activated_at", "in_trust_set", "overdue"}

// inventoryCSV writes the report as RFC 4180. A cell that a spreadsheet would take
// for a formula gets an apostrophe before it: owners and reasons are free text.
func inventoryCSV(items []wire.InventoryItem) (any, error) {
	rows := [][]string{inventoryColumns}
	for _, i := range items {
		extractable := ""
		if i.Extractable != nil {
			extractable = strconv.FormatBool(*i.Extractable)
		}
		rows = append(rows, []string{i.Key, string(i.Purpose), string(i.Alg), strconv.Itoa(i.Bits), cell(i.Owner), cell(i.BusinessReason),
			strconv.FormatUint(i.Version, 10), i.State.String(), i.Node, string(i.KID), i.Condition.String(), string(i.Driver), i.CKAID,
			cell(strings.Join(i.Attributes, " ")), extractable, i.CreatedAt.String(), i.ActivatedAt.String(), strconv.FormatBool(i.InTrustSet), strconv.FormatBool(i.Overdue)})
	}
	return csvOf(rows)
}

func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
