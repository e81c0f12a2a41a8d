package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Many certificates are revoked in batches, after a look at what they are. A batch is one
// entry of the log. What is revoked already is left out, so whatever ends the command,
// the same command goes on from there.
const (
	revokeBatch   = 512      // the log takes twice as many in one entry
	maxSerialFile = 64 << 20 // bytes: more than a million serials
	sampleSize    = 10
)

var bulkFilters = map[string]string{"issuer": wire.QueryIssuer, "name": wire.QueryName, "requester": wire.QueryActor, "node": wire.QueryNode,
	"profile": wire.QueryProfile, "expires-before": wire.QueryExpires}

func bulkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "revoke the serials of a file, one on a line, - for stdin"},
		&cli.BoolFlag{Name: "all", Usage: "revoke every certificate that the other filters leave, but no CA certificate and no OCSP responder's unless --profile says so"},
		&cli.StringFlag{Name: "issuer", Usage: "revoke what this issuer signed"},
		&cli.StringFlag{Name: "node", Usage: "revoke what this node signed"},
		&cli.StringFlag{Name: "requester", Usage: "revoke what this principal asked for"},
		&cli.StringFlag{Name: "profile", Usage: "revoke what is of this profile"},
		&cli.StringFlag{Name: "name", Usage: "revoke what has this name in it; '*' stands for any run of characters"},
		&cli.StringFlag{Name: "expires-before", Usage: "revoke what ends before this time (RFC 3339)"},
		yesFlag(),
	}
}

// bulk is what would be revoked, or was. Its maps count certificates.
type bulk struct {
	Plan       bool           `json:"plan"`
	Count      int            `json:"count"`
	Revoked    int            `json:"revoked"`
	Skipped    map[string]int `json:"skipped"` // by status: revoked, expired and announced need no revocation; or by a profile that is spared
	Issuers    map[string]int `json:"issuers"`
	Nodes      map[string]int `json:"nodes"`
	Requesters map[string]int `json:"requesters"`
	Profiles   map[string]int `json:"profiles"`
	Sample     []string       `json:"sample"`
	Requests   []string       `json:"requests,omitempty"`

	serials map[string][]string // by issuer
	seen    map[string]bool
	hold    bool // what is on hold stays as it is
	spares  bool // CA and OCSP responder certificates: who means those says so
}

// add takes a certificate in, or counts why not.
func (b *bulk) add(c *wire.Certificate) {
	if b.seen[c.Serial] {
		return
	}
	b.seen[c.Serial] = true
	if c.Status != "good" && (c.Status != wire.CertificateOnHold || b.hold) {
		b.Skipped[c.Status]++
		return
	}
	if b.spares && (c.Profile == lifecycle.ProfileCA || c.Profile == lifecycle.ProfileOCSP) {
		b.Skipped["profile "+c.Profile]++
		return
	}
	b.Count++
	b.Issuers[c.Issuer]++
	b.Nodes[c.IssuerNode]++
	b.Requesters[c.Requester]++
	b.Profiles[c.Profile]++
	b.serials[c.Issuer] = append(b.serials[c.Issuer], c.Serial)
	if len(b.Sample) < sampleSize {
		b.Sample = append(b.Sample, c.Serial+" "+certNames(c))
	}
}

// wantsBulk reports whether certificates are named by a file or a filter.
func wantsBulk(s *session) (bool, error) {
	filtered := s.Bool("all")
	for flag := range bulkFilters {
		filtered = filtered || s.String(flag) != ""
	}
	named := 0
	for _, is := range []bool{s.NArg() > 0, s.String("file") != "", filtered} {
		if is {
			named++
		}
	}
	if named != 1 {
		return false, usagef("chancery cert revoke takes serials, or --file, or filters such as --issuer and --requester: one of the three")
	}
	return s.NArg() == 0, nil
}

// revokeMany shows what would be revoked, asks, and revokes it.
func (s *session) revokeMany(c *client.Client, in wire.RevokeCertificates) error {
	s.patient()
	b := &bulk{Plan: s.Bool("plan"), Skipped: map[string]int{}, Issuers: map[string]int{}, Nodes: map[string]int{}, Requesters: map[string]int{}, Profiles: map[string]int{},
		Sample: []string{}, serials: map[string][]string{}, seen: map[string]bool{}, hold: in.Reason == lifecycle.CertificateHold}
	var err error
	if s.String("file") != "" {
		err = s.listedIn(c, b)
	} else {
		b.spares = s.String("profile") == ""
		err = s.filtered(c, b)
	}
	if err != nil || b.Plan {
		return errors.Join(err, s.showBulk(b, err))
	}
	if b.Skipped["profile "+lifecycle.ProfileCA]+b.Skipped["profile "+lifecycle.ProfileOCSP] > 0 {
		s.notef("CA certificates and those of OCSP responders are left out: --profile %s and --profile %s revoke them", lifecycle.ProfileCA, lifecycle.ProfileOCSP)
	}
	if b.Count > 0 {
		s.notef("%s", b.summary())
		if err := s.confirm(fmt.Sprintf("This will revoke %d certificates (which says --plan)", b.Count), fmt.Sprint(b.Count)); err != nil {
			return err
		}
	}
	err = s.revokeBatches(c, in, b)
	return errors.Join(s.showBulk(b, nil), err)
}

func (s *session) showBulk(b *bulk, failed error) error {
	if failed != nil {
		return nil
	}
	v := view{value: b, names: b.Requests}
	if b.Plan {
		v.pair("plan", "nothing was changed")
		v.pair("would revoke", fmt.Sprint(b.Count))
	} else {
		v.pair("revoked", fmt.Sprintf("%d of %d", b.Revoked, b.Count))
	}
	for _, by := range []struct {
		name   string
		counts map[string]int
	}{{"skipped", b.Skipped}, {"issuer", b.Issuers}, {"node", b.Nodes}, {"requester", b.Requesters}, {"profile", b.Profiles}} {
		for _, k := range sortedKeys(by.counts) {
			v.pair(by.name+" "+k, fmt.Sprint(by.counts[k]))
		}
	}
	if b.Plan {
		for _, c := range b.Sample {
			v.pair("for example", c)
		}
	}
	return s.show(v)
}

// summary is the plan in one line, for whoever is asked.
func (b *bulk) summary() string {
	return fmt.Sprintf("%d certificates of %s, asked for by %d principals, the first: %s", b.Count, strings.Join(sortedKeys(b.Issuers), ", "), len(b.Requesters), b.Sample[0])
}

// listedIn looks up what a file lists. One serial that nobody knows refuses them all: the
// file may be of another cluster.
func (s *session) listedIn(c *client.Client, b *bulk) error {
	text, err := s.read(s.String("file"), maxSerialFile)
	if err != nil {
		return err
	}
	var some []listed
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		serial, err := lifecycle.ParseSerial(line)
		if err != nil {
			return usagef("line %d of %s: %v", n, s.String("file"), err)
		}
		if some = append(some, listed{n, serial.String()}); len(some) == wire.MaxSerials {
			if err := s.lookUp(c, b, some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return s.lookUp(c, b, some)
}

// listed is a serial and the line of the file it stands in.
type listed struct {
	line   int
	serial string
}

// lookUp takes in what a few lines of the file name.
func (s *session) lookUp(c *client.Client, b *bulk, some []listed) error {
	if len(some) == 0 {
		return nil
	}
	serials := make([]string, len(some))
	for i, l := range some {
		serials[i] = l.serial
	}
	page, err := c.Certificates(s.ctx, client.Query(wire.QuerySerials, strings.Join(serials, ",")))
	if err != nil {
		return err
	}
	rows := map[string]*wire.Certificate{}
	for i := range page.Items {
		rows[page.Items[i].Serial] = &page.Items[i]
	}
	for _, l := range some {
		row := rows[l.serial]
		if row == nil {
			return fmt.Errorf("line %d of %s: %w", l.line, s.String("file"), wire.Errorf(wire.CertificateNotFound, "no certificate has the serial %s", l.serial).WithHint("chancery cert list"))
		}
		b.add(row)
	}
	return nil
}

// filtered looks up what the filters find, page by page.
func (s *session) filtered(c *client.Client, b *bulk) error {
	opts := []client.Option{}
	for flag, query := range bulkFilters {
		opts = append(opts, client.Query(query, s.String(flag)))
	}
	for _, status := range []string{"good", wire.CertificateOnHold} {
		for cursor, more := "", true; more; {
			page, err := c.Certificates(s.ctx, slices.Concat(opts, []client.Option{client.Query(wire.QueryState, status), client.Page(wire.MaxListLimit, cursor)})...)
			if err != nil {
				return err
			}
			for i := range page.Items {
				b.add(&page.Items[i])
			}
			cursor, more = string(page.Next), page.Next != ""
		}
	}
	return nil
}

// revokeBatches goes on when a batch waits for approval, and ends at any other failure.
func (s *session) revokeBatches(c *client.Client, in wire.RevokeCertificates, b *bulk) error {
	base := firstOf(s.givenRequestID(), client.NewRequestID())
	var waiting error
	for _, issuer := range sortedKeys(b.serials) {
		slices.Sort(b.serials[issuer])
		for batch := range slices.Chunk(b.serials[issuer], revokeBatch) {
			id, err := batchID(base, issuer, batch)
			if err != nil {
				return err
			}
			in.Issuer, in.Serials = issuer, batch
			op, err := c.RevokeCertificates(s.ctx, in, append(s.waits(wire.Committed), client.WithRequestID(id))...)
			if err != nil {
				return &unfinished{err, b.Revoked, b.Count}
			}
			b.Requests = append(b.Requests, id)
			if op.Status == wire.PendingApproval {
				waiting = &pendingApproval{op}
				continue
			}
			b.Revoked += len(batch)
			s.notef("revoked %d of %d", b.Revoked, b.Count)
		}
	}
	return waiting
}

// unfinished is a failure in the middle: its code is the failure's own.
type unfinished struct {
	error
	revoked, count int
}

func (e *unfinished) Unwrap() error { return e.error }

func (e *unfinished) Error() string {
	return fmt.Sprintf("%d of %d certificates are revoked: %v", e.revoked, e.count, e.error)
}

func (e *unfinished) hint() string {
	return "the same command goes on with the rest: what is revoked already is left out"
}

// batchID derives the request id of a batch from that of the command, so that the same
// batch of the same command happens once. Its time is the command's.
func batchID(base, issuer string, serials []string) (string, error) {
	id, err := uuid.Parse(base)
	if err != nil || id.Version() != 7 {
		return "", usagef("--request-id %q: a request id is a UUID of version 7", base)
	}
	sum := sha256.Sum256([]byte(base + "\n" + issuer + "\n" + strings.Join(serials, "\n")))
	copy(id[8:], sum[:8])
	id[8] = id[8]&0x3f | 0x80 // RFC 9562: the variant
	return id.String(), nil
}
