package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// node is one API over one ledger, a software key store and a real journal, behind
// a TLS server.
type node struct {
	t       testing.TB
	clock   *ledgertest.Clock
	ledger  *ledgertest.Ledger
	members *members
	journal *audit.Journal
	store   *hsmtest.Fault
	service *authority.Service
	api     *API
	server  *httptest.Server
	log     *logBuffer
	signer  *signing.Signer
	elapsed func() time.Duration // what the signer ages requests by
}

// logBuffer is the node's log, for tests that look into it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// members is a membership that agrees to everything.
type members struct {
	mu    sync.Mutex
	calls []string
}

func (m *members) note(s string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, s)
	return nil
}

func (m *members) AddNonvoter(_ context.Context, id, _ string) error { return m.note("nonvoter " + id) }
func (m *members) AddVoter(_ context.Context, id, _ string) error    { return m.note("voter " + id) }
func (m *members) DemoteVoter(_ context.Context, id string) error    { return m.note("demote " + id) }
func (m *members) RemoveServer(_ context.Context, id string) error   { return m.note("remove " + id) }
func (m *members) TransferLeadership(_ context.Context, to lifecycle.NodeID) error {
	return m.note("transfer " + string(to))
}
func (m *members) Servers() (map[string]bool, error) { return nil, nil }

// Secrets of the fixture's bearer tokens, by principal.
var secrets = map[string]string{"admin": "chy_admin_secret", "signer": "chy_signer_secret", "auditor": "chy_auditor_secret", "nobody": "chy_nobody_secret"}

type option func(*Config)

// start makes a node with a genesis and the principals admin, signer (of ci-*),
// auditor and nobody (who has no role).
func start(t testing.TB, opts ...option) *node {
	t.Helper()
	clock := ledgertest.NewClock()
	clock.Advance(time.Since(clock.Now())) // request ids carry the real time
	l := ledgertest.New(t, ledgertest.WithClock(clock))
	ledgertest.Genesis(t, l, "n1", "node2")
	for name, roles := range map[string][]lifecycle.Grant{"signer": {{Role: lifecycle.Signer, Keys: "ci*"}}, "auditor": {{Role: lifecycle.Auditor, Keys: "*"}}, "nobody": nil} {
		l.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service, Grants: roles}})
	}
	for name, secret := range secrets {
		hash := authority.HashToken(secret)
		l.Must(t, &command.AddToken{ID: "token-" + name, Principal: name, Hash: hash[:], ExpiresAt: clock.At().Add(lifecycle.Day)})
	}
	return serve(t, l, opts...)
}

// serve puts an API in front of a ledger.
func serve(t testing.TB, l *ledgertest.Ledger, opts ...option) *node {
	t.Helper()
	journal, err := audit.Open(t.TempDir(), audit.Options{Node: "n1", Clock: l.Clock().Now, FlushDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	n := &node{t: t, clock: l.Clock(), ledger: l, members: &members{}, journal: journal, store: hsmtest.NewFault(hsmtest.Soft(t)), log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n.service = authority.New(authority.Config{Ledger: l, Members: n.members, Audit: journal, Clock: n.clock.Now, Logger: logger})
	began := time.Now()
	n.elapsed = func() time.Duration { return time.Since(began) }
	n.signer = signing.New(signing.Config{Ledger: l, Lease: l, Store: n.store, Audit: journal, Clock: n.clock.Now, Elapsed: func() time.Duration { return n.elapsed() }, MaxAge: time.Minute,
		Record: func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
			return n.service.Peer(l.NodeID(), "self").RecordSignatures(ctx, &command.RecordSignatures{Node: l.NodeID(), Groups: groups})
		}})
	c := Config{Node: "n1", Service: n.service, Signer: n.signer, Clock: n.clock.Now, Logger: logger, Journal: journal,
		Ledger: func(ctx context.Context, id lifecycle.NodeID, ask evidence.Ask) (evidence.Answer, error) {
			if id != l.NodeID() {
				return evidence.Answer{}, errors.New("connection refused")
			}
			return evidence.Search(ctx, journal, id, ask, l.Clock().Now())
		},
		Tally: func(kid string) (evidence.Count, bool) {
			u := journal.UseOf(kid)
			return evidence.Count{Released: u.Released, Open: u.Open()}, kid != ""
		},
		EncodeJoinToken: func(s authority.JoinSecret) (string, string, error) { return "join-" + s.ID, "chancery join", nil },
		Snapshot: func(_ context.Context, w io.Writer) error {
			_, err := w.Write([]byte("a snapshot"))
			return err
		}}
	for _, o := range opts {
		o(&c)
	}
	n.api = New(c)
	n.server = httptest.NewUnstartedServer(n.api.Handler())
	n.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	n.server.StartTLS()
	n.server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		n.api.Stop()
		n.server.Close()
	})
	return n
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request as a principal of the fixture ("" = nobody at all). body may be
// nil, a string (sent as it is) or a value (sent as JSON).
func (n *node) ask(as, method, path string, body any, headers ...string) reply {
	n.t.Helper()
	var r io.Reader
	if body != nil {
		text, ok := body.(string)
		if !ok {
			b, err := json.Marshal(body)
			if err != nil {
				n.t.Fatal(err)
			}
			text = string(b)
		}
		r = strings.NewReader(text)
	}
	req, err := http.NewRequest(method, n.server.URL+path, r)
	if err != nil {
		n.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", wire.TypeJSON)
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+secrets[as])
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return n.do(n.client(), req)
}

// client follows no redirects.
func (n *node) client() *http.Client { return n.server.Client() }

func (n *node) do(c *http.Client, req *http.Request) reply {
	n.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		n.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// get decodes an answer that must be a success.
func get[T any](t testing.TB, r reply) T {
	t.Helper()
	var v T
	if r.status/100 != 2 {
		t.Fatalf("answer %d: %s", r.status, r.body)
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %T: %v in %s", v, err, r.body)
	}
	return v
}

// refused checks the code of an answer that must be an error object.
func refused(t testing.TB, r reply, code wire.Code) *wire.Error {
	t.Helper()
	e := new(wire.Error)
	if err := json.Unmarshal(r.body, e); err != nil {
		t.Fatalf("answer %d is no error object: %s", r.status, r.body)
	}
	if e.Code != code || e.Message == "" {
		t.Errorf("refused with %d %q (%s), want %q", r.status, e.Code, e.Message, code)
	}
	if e.Retryable != code.Info().Retryable {
		t.Errorf("%s: retryable = %v", code, e.Retryable)
	}
	return e
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

var createCI = wire.CreateKey{Name: "ci", Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Owner: "rel@example.com", BusinessReason: "sign releases"}

// create makes a key through the API and brings its first version to life.
func (n *node) create(k wire.CreateKey) {
	n.t.Helper()
	get[wire.Operation](n.t, n.ask("admin", "POST", wire.PathKeys, k))
	n.bind(lifecycle.KeyID(k.Name), 1)
	n.ledger.Must(n.t, &command.ActivateVersion{Key: lifecycle.KeyID(k.Name), Version: 1})
}

// bind does what the reconciler of this node does: it makes the key pair that the
// intent names.
func (n *node) bind(key lifecycle.KeyID, version uint64) {
	n.t.Helper()
	v := n.ledger.View()
	k, i := v.Key(key), v.Instance(key, version, n.ledger.NodeID())
	o, err := n.store.Generate(hsmtest.Context(n.t), hsm.Spec{ID: hsm.ObjectID(i.CKAID), Label: string(key), Alg: k.Alg, Bits: k.Bits})
	if err != nil {
		n.t.Fatal(err)
	}
	kid, err := publish.Thumbprint(o.SPKI)
	if err != nil {
		n.t.Fatal(err)
	}
	n.ledger.Must(n.t, &command.BindInstance{Key: key, Version: version, Node: i.Node, CKAID: i.CKAID, SPKI: o.SPKI, KID: kid, Driver: "soft",
		Attributes: []string{"CKA_EXTRACTABLE=true"}})
}

// trusted is a client that shows a certificate.
func (n *node) trusted(cert tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(n.server.Certificate())
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
