package state

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Leaf is one entry of the lifecycle log: what happened to one subject. It is
// text, "name: value" lines under a version line, so that a person can read the
// bytes that were hashed. Kind is the event kind of INTERFACE ("key.activated").
type Leaf struct {
	Kind      string
	At        lifecycle.Instant
	Index     uint64
	Sub       int // 0 for the first leaf of an entry
	Actor     string
	RequestID string
	Key       lifecycle.KeyID
	Version   uint64
	KID       string
	Node      lifecycle.NodeID
	Before    string
	After     string
	Reason    string
	Detail    string
	Consumer  string                  // of "consumer."
	Proposal  string                  // of "proposal.", and of what an executed one did
	Fence     uint64                  // of "fenced" and "settled": the entry that opened it
	Nodes     []lifecycle.FencedNode  // of "fenced": how each node's right ended
	Count     int                     // of "signature.recorded": how many
	Digest    string                  // likewise: hex SHA-256 over the hashes of all of them; of "proposal.": of the intent
	Items     []command.SignatureItem // likewise: the first of them
	Serials   []lifecycle.Serial      // of "cert.": which certificates
	Command   string                  // hex SHA-256 of the entry
}

const leafVersion = "chancery-log/1"

type field struct{ name, value string }

// fields appends names and values in the order they are written; empty ones are
// left out. Names are never reused for something else.
func (l *Leaf) fields(out []field) []field {
	num := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	out = append(out, []field{
		{"kind", l.Kind}, {"at", strconv.FormatInt(int64(l.At), 10) + " " + l.At.String()}, {"index", num(l.Index)}, {"sub", num(uint64(l.Sub))},
		{"actor", l.Actor}, {"request", l.RequestID}, {"key", string(l.Key)}, {"version", num(l.Version)}, {"kid", l.KID},
		{"node", string(l.Node)}, {"before", l.Before}, {"after", l.After}, {"reason", l.Reason}, {"detail", l.Detail}, {"consumer", l.Consumer}, {"proposal", l.Proposal}, {"fence", num(l.Fence)},
	}...)
	for i := range l.Nodes {
		out = append(out, field{"fenced", fencedText(&l.Nodes[i])})
	}
	out = append(out, field{"count", num(uint64(l.Count))}, field{"digest", l.Digest})
	for i := range l.Items {
		out = append(out, field{"item", hex.EncodeToString(l.Items[i].TBS) + " " + hex.EncodeToString(l.Items[i].Sig)})
	}
	for i := range l.Serials {
		out = append(out, field{"serial", l.Serials[i].String()})
	}
	return append(out, field{"command", l.Command})
}

// Encode writes the leaf. Values never hold a line break: limits refuse control
// characters, and what slips past them is quoted.
func (l *Leaf) Encode() []byte {
	b := make([]byte, 0, 640+160*(len(l.Nodes)+len(l.Items))+49*len(l.Serials))
	b = append(b, leafVersion+"\n"...)
	var place [24]field // does for most leaves
	for _, f := range l.fields(place[:0]) {
		if f.value == "" {
			continue
		}
		v := f.value
		if strings.ContainsAny(v, "\n\r\"") {
			v = strconv.Quote(v)
		}
		b = append(append(append(append(b, f.name...), ": "...), v...), '\n')
	}
	return b
}

// ParseLeaf reads what Encode wrote and nothing else: the leaf must encode to the
// identical bytes, or two readers could see two leaves in one hash.
func ParseLeaf(b []byte) (*Leaf, error) {
	lines := strings.Split(string(b), "\n")
	if len(lines) < 3 || lines[0] != leafVersion || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("log leaf of %d bytes does not begin with %q", len(b), leafVersion)
	}
	l := &Leaf{}
	for _, line := range lines[1 : len(lines)-1] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("log leaf line %q has no value", line)
		}
		if strings.HasPrefix(value, `"`) {
			v, err := strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("log leaf value %s: %w", value, err)
			}
			value = v
		}
		if err := l.set(name, value); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(l.Encode(), b) {
		return nil, fmt.Errorf("log leaf of %d bytes is not in the form leaves are written in", len(b))
	}
	return l, nil
}

func (l *Leaf) set(name, value string) (err error) {
	switch name {
	case "kind":
		l.Kind = value
	case "at":
		ms, _, _ := strings.Cut(value, " ")
		var n int64
		n, err = strconv.ParseInt(ms, 10, 64)
		l.At = lifecycle.Instant(n)
	case "index":
		l.Index, err = strconv.ParseUint(value, 10, 64)
	case "sub":
		l.Sub, err = strconv.Atoi(value)
	case "actor":
		l.Actor = value
	case "request":
		l.RequestID = value
	case "key":
		l.Key = lifecycle.KeyID(value)
	case "version":
		l.Version, err = strconv.ParseUint(value, 10, 64)
	case "kid":
		l.KID = value
	case "node":
		l.Node = lifecycle.NodeID(value)
	case "before":
		l.Before = value
	case "after":
		l.After = value
	case "reason":
		l.Reason = value
	case "detail":
		l.Detail = value
	case "consumer":
		l.Consumer = value
	case "proposal":
		l.Proposal = value
	case "fence":
		l.Fence, err = strconv.ParseUint(value, 10, 64)
	case "fenced":
		var n lifecycle.FencedNode
		n, err = parseFenced(value)
		l.Nodes = append(l.Nodes, n)
	case "count":
		l.Count, err = strconv.Atoi(value)
	case "digest":
		l.Digest = value
	case "item":
		var it command.SignatureItem
		it, err = parseItem(value)
		l.Items = append(l.Items, it)
	case "serial":
		var serial lifecycle.Serial
		serial, err = lifecycle.ParseSerial(value)
		l.Serials = append(l.Serials, serial)
	case "command":
		l.Command = value
	default:
		err = fmt.Errorf("unknown field")
	}
	if err != nil {
		return fmt.Errorf("log leaf field %q: %w", name, err)
	}
	return nil
}

// fencedText is "node outcome boot at", with "-" for no boot id.
func fencedText(n *lifecycle.FencedNode) string {
	boot := n.Boot
	if boot == "" {
		boot = "-"
	}
	return string(n.Node) + " " + string(n.Outcome) + " " + boot + " " + strconv.FormatInt(int64(n.At), 10)
}

func parseFenced(s string) (n lifecycle.FencedNode, err error) {
	parts := strings.Split(s, " ")
	if len(parts) != 4 {
		return n, fmt.Errorf("%q has %d parts, not 4", s, len(parts))
	}
	at, err := strconv.ParseInt(parts[3], 10, 64)
	n = lifecycle.FencedNode{Node: lifecycle.NodeID(parts[0]), Outcome: lifecycle.FenceOutcome(parts[1]), Boot: parts[2], At: lifecycle.Instant(at)}
	if n.Boot == "-" {
		n.Boot = ""
	}
	return n, err
}

func parseItem(s string) (it command.SignatureItem, err error) {
	tbs, sig, _ := strings.Cut(s, " ")
	if it.TBS, err = hex.DecodeString(tbs); err != nil {
		return it, err
	}
	it.Sig, err = hex.DecodeString(sig)
	return it, err
}
