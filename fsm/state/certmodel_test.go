package state_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestCertificatesAgree drives three replicas through one log of certificates: they must
// agree on every outcome and byte, and the state must obey certLaw.
func TestCertificatesAgree(t *testing.T) {
	base := newPKI(t)
	rows := base.l.Rows()
	rapid.Check(t, func(t *rapid.T) {
		d := &certDriver{driver: driver{rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), now: base.l.Clock().At(), nodes: base.nodes}, p: base, forms: map[lifecycle.Serial]form{}}
		rs := make(trio, 3)
		for i := range rs {
			b := ledgertest.Restore(rows)
			m, err := state.LoadMachine(b)
			if err != nil {
				t.Fatal(err)
			}
			rs[i] = &replica{m, b}
		}
		d.view = rs[0].view()
		law := &certLaw{t: t, rows: map[lifecycle.Serial]*lifecycle.Certificate{}, given: map[lifecycle.Serial]bool{}, pruned: map[lifecycle.Serial]bool{}, asked: map[string]answered{}}
		for node := range d.nodes {
			s := base.caSerial(node)
			law.rows[s] = base.cert(s)
		}
		for range rapid.IntRange(1, 3).Draw(t, "steps in 20") * 20 {
			cmd := d.command()
			first := rs.apply(t, d.as(), cmd)
			before := d.view
			d.view = rs[0].view()
			law.observe(before, d.view, cmd, first)
		}
		law.indexes(rs[0].b)
		rs.agree(t)
	})
}

// certDriver draws commands about certificates of corp.
type certDriver struct {
	driver
	p     *pki
	forms map[lifecycle.Serial]form // announced, accepted or not
	known []lifecycle.Serial        // in the order they were drawn
}

func (d *certDriver) command() *command.Command {
	d.now = d.now.Add(lifecycle.Milliseconds(d.int(3)) * pick(d.as(), lifecycle.Second, lifecycle.Minute, lifecycle.Minute, 6*lifecycle.Hour))
	body, actor := d.body(), ledgertest.Admin
	switch body.(type) {
	case *command.AbandonIntents, *command.PruneRevoked, *command.WarnExpiring, *command.GatherRevocations, *command.GatherIssuance:
		actor = "system"
	}
	return &command.Command{Header: command.Header{At: d.now, Actor: actor}, Body: body}
}

func (d *certDriver) as() *driver { return &d.driver }

func (d *certDriver) some(max int) (out []lifecycle.Serial) {
	for range 1 + d.int(max-1) {
		if len(d.known) > 0 && !d.flip(15) {
			out = append(out, d.known[d.int(len(d.known)-1)])
		} else {
			out = append(out, lifecycle.NewSerial(d.now, [13]byte{0xff, byte(d.int(255))}))
		}
	}
	slices.SortFunc(out, func(a, b lifecycle.Serial) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

func (d *certDriver) body() command.Body {
	switch d.int(19) {
	case 18, 19:
		return d.issuance()
	case 16, 17:
		return d.gathered()
	case 0, 1, 2, 3:
		return d.intents()
	case 4, 5, 6, 7, 8:
		return d.records()
	case 9:
		c := &command.RevokeCertificates{}
		for _, s := range d.some(3) {
			c.Items = append(c.Items, command.RevokeItem{Serial: s, Reason: pick(d.as(), lifecycle.Reasons...)})
		}
		return c
	case 10:
		return &command.ReleaseCertificates{Serials: d.some(3)}
	case 11:
		due, err := d.view.DueIntents(d.now, 5)
		if err == nil && len(due) > 0 {
			return &command.AbandonIntents{Serials: due}
		}
		return &command.AbandonIntents{Serials: d.some(3)}
	case 12:
		node := d.int(2)
		kid := d.p.kid(corp, 1, node)
		c := &command.AllocateCRL{Node: d.nodes[node], KID: kid, Number: 1, TBSHash: hash32([]byte{byte(d.int(3))}), ThisUpdate: d.now, NextUpdate: d.now.Add(lifecycle.Day), AtIndex: d.view.Position().Index}
		if s := d.view.CRLState(kid, 0); s != nil {
			c.Number = s.Number + uint64(d.int(1))
		}
		return c
	case 13:
		if got, err := d.view.Prunable(d.p.kid(corp, 1, d.int(2)), 5); err == nil && len(got) > 0 {
			return &command.PruneRevoked{Serials: got}
		}
		return &command.PruneRevoked{Serials: d.some(3)}
	case 14:
		if !d.flip(3) {
			return &command.MarkCheckpoint{}
		}
		s := d.p.caSerial(d.int(2))
		if d.flip(2) {
			return &command.ReleaseCertificates{Serials: []lifecycle.Serial{s}}
		}
		return revokeCert(pick(d.as(), lifecycle.CertificateHold, lifecycle.CertificateHold, lifecycle.Superseded), s)
	default:
		if d.view.Version(corp, 1).State == lifecycle.Suspended {
			return &command.ResumeVersion{Key: corp, Version: 1}
		}
		return &command.SuspendVersion{Key: corp, Version: 1}
	}
}

// gathered are requests of both requesters, some about one certificate, some repeated.
func (d *certDriver) gathered() command.Body {
	c := &command.GatherRevocations{}
	for range 1 + d.int(5) {
		who, s, reason := pick(d.as(), "web-01", "web-02"), d.some(2)[0], pick(d.as(), lifecycle.Reasons...)
		r := command.RevocationRequest{Actor: who, RequestID: uuid(d.now-d.now%60_000, d.int(9)), RequestDigest: hash32([]byte(string(reason) + s.String())),
			Reads: []command.RowRef{state.RefPrincipal(d.view.Principal(who))}, Item: command.RevokeItem{Serial: s, Reason: reason}}
		if d.flip(10) {
			r.Reads[0].Rev++
		}
		if len(c.Requests) > 0 && d.flip(4) {
			r = c.Requests[0]
		}
		c.Requests = append(c.Requests, r)
	}
	return c
}

// issuance are announcements and records of both nodes, some of them twice.
func (d *certDriver) issuance() *command.GatherIssuance {
	c := &command.GatherIssuance{}
	for range 1 + d.int(4) {
		switch b := pick(d.as(), d.intents, d.records)().(type) {
		case *command.IssueIntents:
			c.Announcements = append(c.Announcements, *b)
			if d.flip(6) {
				c.Announcements = append(c.Announcements, *b)
			}
		case *command.RecordIssued:
			c.Records = append(c.Records, *b)
			if d.flip(6) {
				c.Records = append(c.Records, *b)
			}
		}
	}
	return c
}

// intents announces a few certificates of one node, most of them properly.
func (d *certDriver) intents() command.Body {
	node := d.int(2)
	c := &command.IssueIntents{Node: d.nodes[node]}
	for range 1 + d.int(3) {
		d.seq++
		at := d.now - d.now%1000
		f := form{serial: lifecycle.NewSerial(d.now, [13]byte{11: byte(d.seq >> 8), 12: byte(d.seq)}), issuer: "corp CA " + lifecycle.ShortKID(d.p.kid(corp, 1, node)),
			subject: fmt.Sprintf("h%d.test", d.int(9)), spki: der(0x30, []byte(fmt.Sprint("key ", d.int(40)))), from: at, to: at.Add(pick(d.as(), lifecycle.Hour, 12*lifecycle.Hour))}
		if len(d.known) > 0 && d.flip(10) {
			f.serial = d.known[d.int(len(d.known)-1)]
		}
		it := d.p.item(f, pick(d.as(), "web-01", "web-02"))
		it.KID, it.DeadlineAt = d.p.kid(corp, 1, node), d.now.Add(pick(d.as(), lifecycle.Minute, 10*lifecycle.Minute))
		if d.flip(3) {
			it.RequestID, it.RequestDigest = uuid(d.now, d.int(3)), hash32([]byte{byte(d.int(1))})
		}
		if len(d.known) > 0 && d.flip(4) {
			old := d.known[d.int(len(d.known)-1)]
			it.Replaces, it.ByCertificate = &old, d.flip(2)
		}
		if _, again := d.forms[f.serial]; !again {
			d.forms[f.serial] = f
			d.known = append(d.known, f.serial)
		}
		c.Items = append(c.Items, it)
	}
	return c
}

func (d *certDriver) records() command.Body {
	c := &command.RecordIssued{Node: d.node()}
	back := len(d.known) - min(len(d.known), 6)
	for _, s := range d.known[back:] {
		row, err := d.view.Certificate(s)
		if err != nil || row == nil || d.flip(3) {
			continue
		}
		f := d.forms[s]
		if d.flip(12) {
			f.subject += "x"
		}
		if !d.flip(12) {
			c.Node = row.Node
		}
		c.Items = append(c.Items, command.IssuedItem{Serial: s, DER: f.cert()})
	}
	if len(c.Items) == 0 {
		return d.intents()
	}
	return c
}

// certLaw is what must hold of certificates whatever is applied.
type certLaw struct {
	t      *rapid.T
	rows   map[lifecycle.Serial]*lifecycle.Certificate // as they were last
	given  map[lifecycle.Serial]bool                   // given out: the node was told so
	pruned map[lifecycle.Serial]bool
	asked  map[string]answered // by actor and request id
}

// answered is what became of a request.
type answered struct {
	code   state.Code
	digest string
}

func (l *certLaw) observe(before, after *state.View, cmd *command.Command, o state.Outcome) {
	kind, crls := cmd.Body.Kind(), l.crls(after)
	onCRL := func(s lifecycle.Serial) bool { _, ok := crls[s]; return ok }
	switch c := cmd.Body.(type) {
	case *command.IssueIntents:
		l.announced(c, o)
	case *command.RecordIssued:
		for i, g := range o.Groups {
			l.recorded(before, c, i, g.Code)
		}
	case *command.GatherIssuance:
		for p := range c.Records {
			for i, g := range o.Requests[p].Groups {
				l.recorded(before, &c.Records[p], i, g.Code)
			}
		}
		for p := range c.Announcements {
			l.announced(&c.Announcements[p], o.Requests[len(c.Records)+p])
		}
	case *command.GatherRevocations:
		l.gathered(before, after, c, o)
	case *command.PruneRevoked:
		for _, s := range c.Serials {
			if row := l.rows[s]; o.OK() && row != nil && row.Revocation != nil && !onCRL(s) {
				if after.Clock() <= row.NotAfter.Add(lifecycle.Hour) {
					l.t.Fatalf("certificate %s until %s left the CRL at %s", s, row.NotAfter, after.Clock())
				}
				l.pruned[s] = true
			}
		}
	}
	for s, old := range l.rows {
		row, err := after.Certificate(s)
		if err != nil || row == nil {
			l.t.Fatalf("after %s certificate %s is gone (%v)", kind, s, err)
		}
		l.row(after, kind, old, row, crls)
		l.rows[s] = row
	}
}

// gathered compares an entry that requests share with a naive reading of it: each in its
// turn, on what those before it left.
func (l *certLaw) gathered(before, after *state.View, c *command.GatherRevocations, o state.Outcome) {
	rows := map[lifecycle.Serial]lifecycle.Certificate{}
	for i := range c.Requests {
		r, got := &c.Requests[i], o.Requests[i]
		who := r.Actor + " " + r.RequestID
		if first, again := l.asked[who]; again {
			want, repeated := first.code, first.digest == string(r.RequestDigest)
			if !repeated {
				want = state.RequestIDReused
			}
			if got.Code != want || got.Replayed != repeated {
				l.t.Fatalf("a repeat of %+v came to %+v", first, got)
			}
			continue
		}
		row, known := rows[r.Item.Serial]
		if old := l.rows[r.Item.Serial]; !known && old != nil {
			row, known = *old, true
		}
		want := judged(before.Principal(r.Actor).Rev != r.Reads[0].Rev, known, after.Clock(), &row, r.Item.Reason)
		if got.Code != want || got.Replayed || got.Index != o.Index {
			l.t.Fatalf("request %d of %+v came to %+v, want %q", i, c.Requests, got, want)
		}
		if want != state.Conflict {
			l.asked[who] = answered{got.Code, string(r.RequestDigest)}
		}
		if want == "" {
			row.State, row.Revocation = lifecycle.CertRevoked, &lifecycle.CertRevocation{Reason: r.Item.Reason}
			if r.Item.Reason == lifecycle.CertificateHold {
				row.State = lifecycle.CertHeld
			}
			rows[r.Item.Serial] = row
		}
	}
	for s, want := range rows {
		if row, err := after.Certificate(s); err != nil || row.State != want.State || row.Revocation.Reason != want.Revocation.Reason {
			l.t.Fatalf("certificate %s is %+v, %v; want %s", s, row, err, want.State)
		}
	}
}

// judged is what becomes of a request to revoke a certificate.
func judged(moved, known bool, clock lifecycle.Instant, c *lifecycle.Certificate, reason lifecycle.Reason) state.Code {
	switch {
	case moved:
		return state.Conflict
	case !known:
		return state.CertificateNotFound
	case clock > c.NotAfter:
		return state.CertificateExpired
	case c.State == lifecycle.CertIssued:
		return ""
	case reason == lifecycle.CertificateHold:
		return state.CertificateRevoked
	case c.State == lifecycle.CertRevoked && (!reason.IsCompromise() || c.Revocation.Reason.IsCompromise()):
		return state.CertificateRevoked
	}
	return ""
}

// announced looks at what was announced: no serial twice.
func (l *certLaw) announced(c *command.IssueIntents, o state.Outcome) {
	for i, g := range o.Groups {
		s := c.Items[i].Serial
		if g.Code == "" && l.rows[s] != nil {
			l.t.Fatalf("serial %s was given out twice", s)
		} else if g.Code == "" {
			l.rows[s] = &lifecycle.Certificate{State: lifecycle.CertIntent}
		}
	}
}

// recorded looks at one item: what is given out was announced, is kept, and its right
// stood at that very entry.
func (l *certLaw) recorded(before *state.View, c *command.RecordIssued, i int, code state.Code) {
	s := c.Items[i].Serial
	if code != "" {
		return
	}
	old := l.rows[s]
	if old == nil {
		l.t.Fatalf("certificate %s is recorded and was never announced", s)
		return
	}
	if old.State == lifecycle.CertIntent {
		ca := before.CACert(corp, 1, old.Node)
		if before.Version(corp, 1).State != lifecycle.Active || ca.Revocation != nil || old.Node != c.Node {
			l.t.Fatalf("certificate %s is given out and nobody had the right to sign it", s)
		}
	} else if old.State != lifecycle.CertIssued {
		l.t.Fatalf("certificate %s is given out and is %s", s, old.State)
	}
	l.given[s] = true
}

// crls are the CRLs of corp's instances and the root's, by serial.
func (l *certLaw) crls(v *state.View) map[lifecycle.Serial]state.RevokedEntry {
	out := map[lifecycle.Serial]state.RevokedEntry{}
	for _, t := range v.CertTallies() {
		if _, err := v.EachRevoked(t.KID, func(e state.RevokedEntry) bool {
			e.DER = bytes.Clone(e.DER)
			out[e.Serial] = e
			return true
		}); err != nil {
			l.t.Fatal(err)
		}
	}
	return out
}

func (l *certLaw) row(v *state.View, kind command.Kind, old, c *lifecycle.Certificate, crls map[lifecycle.Serial]state.RevokedEntry) {
	fail := func(what string) {
		l.t.Fatalf("after %s certificate %s: %s\nbefore %+v\nnow %+v", kind, c.Serial, what, old, c)
	}
	withdrawn := c.State == lifecycle.CertHeld || c.State == lifecycle.CertRevoked
	switch {
	case old.State == lifecycle.CertRevoked && c.State != lifecycle.CertRevoked:
		fail("it was revoked and is not any more")
	case old.State != lifecycle.CertIntent && c.State == lifecycle.CertIntent:
		fail("it became an intent again")
	case withdrawn != (c.Revocation != nil):
		fail("state and revocation do not fit")
	case c.State == lifecycle.CertIntent == (c.DeadlineAt == 0):
		fail("an intent has a deadline and nothing else has")
	case l.given[c.Serial] && (c.IssuedAt == 0 || c.Revocation != nil && c.Revocation.Unrecorded):
		fail("it was given out and counts as never recorded")
	case old.Revocation != nil && old.Revocation.Unrecorded && !c.Revocation.Unrecorded:
		fail("it was never given out, and now it looks as if it were")
	case old.Revocation != nil && c.Revocation != nil && old.Revocation.Reason != lifecycle.CertificateHold && old.Revocation.At != c.Revocation.At:
		fail("the date of its revocation moved")
	}
	entry, listed := crls[c.Serial]
	if listed && (entry.NotAfter != c.NotAfter || c.Revocation == nil || !bytes.Equal(entry.DER, lifecycle.EncodeCRLEntry(c.Serial, c.Revocation.At, c.Revocation.Reason, c.Revocation.InvalidityAt))) {
		fail(fmt.Sprintf("its entry on the CRL is %x", entry.DER))
	}
	if listed != (withdrawn && !l.pruned[c.Serial]) {
		fail("it is on the CRL and should not be, or the other way about")
	}
	if der, err := v.CertificateDER(c.Serial); err != nil || c.IssuedAt != 0 && der == nil {
		fail("the certificate itself is not kept")
	}
}

// indexes makes the rows that follow from certificates again, and counts again.
func (l *certLaw) indexes(r state.Reader) {
	want := map[string]int{}
	tallies := map[string]*lifecycle.CertTally{}
	at := func(i lifecycle.Instant) string { return string(binary.BigEndian.AppendUint64(nil, uint64(i))) }
	r.Ascend(state.TableCertificates, "", func(key string, b []byte) bool {
		var c lifecycle.Certificate
		if err := command.Unmarshal(b, &c); err != nil {
			l.t.Fatal(err)
		}
		count := tallies[c.IssuerKID]
		if count == nil {
			count = &lifecycle.CertTally{KID: c.IssuerKID}
			tallies[c.IssuerKID] = count
		}
		l.count(count, &c, key, r)
		want[fmt.Sprintf("%s %x", state.TableCertKeys, string(c.SPKIHash)+key)]++
		if c.State == lifecycle.CertIntent {
			want[fmt.Sprintf("%s %x", state.TableCertIntents, key+at(c.DeadlineAt))]++
			return true
		}
		raw, err := base64.RawURLEncoding.DecodeString(c.IssuerKID)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, name := range []string{strings.ToLower(c.Subject), "www." + strings.ToLower(c.Subject)} {
			if c.Profile != lifecycle.ProfileCA || !strings.HasPrefix(name, "www.") || slices.Contains(c.DNS, "www."+c.Subject) {
				want[fmt.Sprintf("%s %x", state.TableCertNames, name+"\x00"+key)]++
			}
		}
		want[fmt.Sprintf("%s %x", state.TableCertRequesters, c.Requester+"\x00"+key)]++
		want[fmt.Sprintf("%s %x %x", state.TableCertExpiry, at(c.NotAfter)+key, raw[:8])]++
		return true
	})
	for _, t := range []state.Table{state.TableCertKeys, state.TableCertIntents, state.TableCertNames, state.TableCertRequesters, state.TableCertExpiry} {
		r.Ascend(t, "", func(key string, b []byte) bool {
			rows := []string{fmt.Sprintf("%s %x", t, key)}
			switch t {
			case state.TableCertExpiry:
				rows[0] += fmt.Sprintf(" %x", b)
			case state.TableCertIntents:
				rows = nil
				for ; len(b) > 0; b = b[28:] {
					rows = append(rows, fmt.Sprintf("%s %x", t, b[:28]))
				}
			}
			for _, row := range rows {
				if want[row]--; want[row] != 0 {
					l.t.Fatalf("the index has the row %s, and no certificate has it", row)
				}
				delete(want, row)
			}
			return true
		})
	}
	for row := range want {
		l.t.Fatalf("the index has not the row %s", row)
	}
	l.tallies(r, tallies)
}

func (l *certLaw) count(t *lifecycle.CertTally, c *lifecycle.Certificate, key string, r state.Reader) {
	raw, _ := base64.RawURLEncoding.DecodeString(c.IssuerKID) // indexes has decoded it
	if r.Get(state.TableRevoked, string(raw)+key) != nil {
		t.OnCRL++
	}
	if c.Profile != lifecycle.ProfileOCSP {
		t.LastNotAfter = max(t.LastNotAfter, c.NotAfter)
	}
	if c.IssuedAt != 0 {
		t.Issued++
	}
	switch c.State {
	case lifecycle.CertIntent:
		t.Intents++
	case lifecycle.CertHeld:
		t.Held++
	case lifecycle.CertRevoked:
		t.Revoked++
	}
}

func (l *certLaw) tallies(r state.Reader, want map[string]*lifecycle.CertTally) {
	r.Ascend(state.TableTallies, "", func(key string, b []byte) bool {
		var got lifecycle.CertTally
		if err := command.Unmarshal(b, &got); err != nil {
			l.t.Fatal(err)
		}
		got.Rev, got.IssuedIndex, got.RevokedIndex, got.Abandoned = 0, 0, 0, 0 // rows do not tell who was given up
		if want[key] == nil || *want[key] != got {
			l.t.Fatalf("counted %+v, there are %+v", got, want[key])
		}
		return true
	})
}
