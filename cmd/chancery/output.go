package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/chancery-project/chancery/transport/wire"
)

// Output formats.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatCSV   = "csv"
	formatName  = "name"
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML, formatCSV, formatName}

// view is an answer in every form it can be printed in.
type view struct {
	value any      // json and yaml
	names []string // name
	head  []string // table, wide and csv
	wide  int      // columns from here on are not in a table, 0 = all are
	rows  [][]string
	text  string // stands in for the table, with a line break at its end
}

func (v *view) add(name string, cells ...string) {
	v.names = append(v.names, name)
	v.rows = append(v.rows, cells)
}

// pair adds a line to an answer about one thing; an empty value is left out.
func (v *view) pair(field, value string) {
	if value != "" {
		v.rows = append(v.rows, []string{field, value})
	}
}

// show prints a view to stdout in the format that was asked for.
func (s *session) show(v view) error {
	var err error
	switch s.format {
	case formatJSON:
		err = printJSON(s.out, v.value)
	case formatYAML:
		err = printYAML(s.out, v.value)
	case formatCSV:
		err = printCSV(s.out, v)
	case formatName:
		for _, n := range v.names {
			if _, err = fmt.Fprintln(s.out, plain(n)); err != nil {
				break
			}
		}
	default:
		err = s.printTable(v)
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printYAML goes by way of JSON, so that names and order are the same.
func printYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return err
	}
	block(&n)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return e.Encode(&n)
}

// block takes the JSON look off a YAML tree. Empty lists stay [].
func block(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		block(c)
	}
}

func printCSV(w io.Writer, v view) error {
	c := csv.NewWriter(w)
	head := v.head
	if head == nil {
		head = []string{"field", "value"}
	}
	lower := make([]string, len(head))
	for i, h := range head {
		lower[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	if err := c.Write(lower); err != nil {
		return err
	}
	for _, r := range v.rows {
		cells := make([]string, len(r))
		for i, cell := range r {
			cells[i] = inert(cell)
		}
		if err := c.Write(cells); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// inert keeps a spreadsheet from taking text that somebody else chose for a formula.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+@\t\r", rune(cell[0])) || len(cell) > 1 && cell[0] == '-' {
		return "'" + cell
	}
	return cell
}

func (s *session) printTable(v view) error {
	if v.text != "" {
		_, err := io.WriteString(s.out, plain(v.text))
		return err
	}
	columns := len(v.head)
	if v.wide > 0 && s.format == formatTable {
		columns = v.wide
	}
	if v.head == nil {
		return writeColumns(s.out, v.rows, 2, ": ")
	}
	if len(v.rows) == 0 {
		s.notef("none")
		return nil
	}
	return writeColumns(s.out, append([][]string{v.head}, v.rows...), columns, "  ")
}

// writeColumns aligns the first columns of each row.
func writeColumns(w io.Writer, rows [][]string, columns int, gap string) error {
	width := make([]int, columns)
	for _, r := range rows {
		for i := range min(columns, len(r)) {
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		var line strings.Builder
		for i := range min(columns, len(r)) {
			cell := strings.ReplaceAll(plain(r[i]), "\n", " ")
			if gap == ": " && i == 0 {
				cell += ":"
			}
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(r[i])+2)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Small words for cells.

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}

// when shows a time to the second; JSON has the rest.
func when(t wire.Time) string {
	if t == 0 {
		return "-"
	}
	return t.Time().Format("2006-01-02T15:04:05Z")
}

func labelText(m map[string]string) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ",")
}
