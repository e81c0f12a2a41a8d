package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// A cluster does not lose answers, wait for approval or change its epoch when a
// test wants it to; these are the stories in which a fake node does.

type outcome struct {
	code     int
	out, err string
}

// against runs the program against a fake node.
func against(t *testing.T, handle http.HandlerFunc, line string) outcome {
	t.Helper()
	t.Setenv("CHANCERY_CONFIG_DIR", t.TempDir())
	node := httptest.NewServer(handle)
	defer node.Close()
	var out, errOut bytes.Buffer
	args := append([]string{"chancery"}, strings.Fields(line)...)
	code := run(append(args, "--addr", node.URL), strings.NewReader(""), &out, &errOut)
	return outcome{code, out.String(), errOut.String()}
}

func respond(w http.ResponseWriter, v any) {
	w.Header().Set(wire.HeaderEpoch, "1")
	w.Header().Set(wire.HeaderIndex, "7")
	_ = json.NewEncoder(w).Encode(v) // the program sees what arrived
}

func TestRunOutcomeUnknown(t *testing.T) {
	ids := map[string]bool{}
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		ids[r.Header.Get(wire.HeaderRequestID)] = true
		panic(http.ErrAbortHandler)
	}, "key rotate ci --timeout 300ms -o json")
	var e cliError
	if err := json.Unmarshal([]byte(got.err), &e); err != nil || got.code != exitUnknown || got.out != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(ids) != 1 || !ids[e.RequestID] || !strings.Contains(e.Hint, "--request-id "+e.RequestID) {
		t.Errorf("ids %v, error %+v", ids, e)
	}
}

func TestRunRepeatsWithTheSameID(t *testing.T) {
	const id = "01900000-0000-7000-8000-000000000000"
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		respond(w, wire.Operation{RequestID: r.Header.Get(wire.HeaderRequestID), Verb: "suspend", Reached: wire.Fenced, Fenced: &wire.Reached{At: 1}})
	}, "key suspend ci --request-id "+id)
	if got.code != exitDone || !strings.Contains(got.out, id) {
		t.Errorf("%+v", got)
	}
}

func TestRunPendingApproval(t *testing.T) {
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		respond(w, wire.Operation{RequestID: "r-1", Verb: "rotate", Status: wire.PendingApproval, Proposal: "p-81", Needs: 2})
	}, "key suspend ci")
	if got.code != exitPending || !strings.Contains(got.err, "chancery proposal show p-81") {
		t.Errorf("%+v", got)
	}
}

func TestRunWaitTimesOut(t *testing.T) {
	node := func(w http.ResponseWriter, r *http.Request) {
		respond(w, wire.Operation{RequestID: "r-1", Verb: "rotate", Key: "ci", Reached: wire.Prepared})
	}
	got := against(t, node, "key rotate ci --wait active --timeout 500ms")
	if got.code != exitUnavailable || !strings.Contains(got.err, "it goes on") || !strings.Contains(got.err, "chancery wait r-1 --for active") ||
		!strings.Contains(got.out, "prepared") {
		t.Errorf("%+v", got)
	}
	got = against(t, node, "key rotate ci --wait active --timeout 500ms -o json")
	var e cliError
	if err := json.Unmarshal([]byte(got.err), &e); err != nil || e.Operation == nil || e.Operation.Reached != wire.Prepared || got.out != "" {
		t.Errorf("%+v, %v", got, err)
	}
	got = against(t, node, "wait r-1 --for prepared")
	if got.code != exitDone || !strings.Contains(got.out, "prepared") {
		t.Errorf("%+v", got)
	}
}

func TestRunEpochChange(t *testing.T) {
	asked := 0
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set(wire.HeaderEpoch, fmt.Sprint(asked)) // two lists are two pages: the epoch changes between them
		w.Header().Set(wire.HeaderIndex, "7")
		_ = json.NewEncoder(w).Encode(wire.List[wire.Token]{Next: "more"}) // the program sees what arrived
	}, "token list")
	if got.code != exitRefused || !strings.Contains(got.err, "epoch 2") || !strings.Contains(got.err, "restored") {
		t.Errorf("%+v", got)
	}
}

func TestRunReadsEveryPage(t *testing.T) {
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		l := wire.List[wire.Token]{Items: []wire.Token{{ID: "t1", Principal: "a"}}, Next: "t1"}
		if r.URL.Query().Get(wire.QueryCursor) == "t1" {
			l = wire.List[wire.Token]{Items: []wire.Token{{ID: "t2", Principal: "a"}}}
		}
		respond(w, l)
	}, "token list -o name")
	if got.out != "t1\nt2\n" {
		t.Errorf("%+v", got)
	}
}

// The row of the settings moves by itself now and then: that is no reason to refuse a
// change that was not made from a revision the caller named.
func TestRunSetsOverTheNewestSettings(t *testing.T) {
	revision, moves := uint64(1), 0
	node := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			respond(w, wire.Cluster{Revision: revision})
		case moves > 0:
			moves--
			revision++
			w.WriteHeader(http.StatusPreconditionFailed)
			respond(w, wire.Errorf(wire.PreconditionFailed, "the settings are at revision %d", revision))
		default:
			respond(w, wire.Operation{RequestID: "r-1", Verb: "set", Reached: wire.Fenced, Fenced: &wire.Reached{At: 1}, Complete: true})
		}
	}
	for _, c := range []struct {
		moves, code int
		line        string
	}{{1, exitDone, ""}, {1, exitRefused, " --if-match 1"}, {1000, exitRefused, ""}} {
		moves = c.moves
		if got := against(t, node, "cluster set max_token_ttl=90d"+c.line); got.code != c.code {
			t.Errorf("%d moves%s: %+v", c.moves, c.line, got)
		}
	}
}

// A journal is one node's: its second page is not taken from whoever answers.
func TestRunReadsOneJournal(t *testing.T) {
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		respond(w, wire.List[wire.AuditRecord]{Items: []wire.AuditRecord{{Seq: 2, Node: "n1", Kind: "sign"}}})
	}))
	defer first.Close()
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == wire.Path(wire.PathNode, "n1"):
			respond(w, wire.Node{Name: "n1", Addrs: lifecycle.Addrs{API: first.URL}})
		case r.URL.Query().Get(wire.QueryCursor) == "": // n1 is asked first, and then not reached under this address
			respond(w, wire.List[wire.AuditRecord]{Items: []wire.AuditRecord{{Seq: 1, Node: "n1", Kind: "sign"}}, Next: "1"})
		default:
			respond(w, wire.List[wire.AuditRecord]{Items: []wire.AuditRecord{{Seq: 9, Node: "n2", Kind: "sign"}}})
		}
	}, "audit export")
	if strings.Contains(got.out, "n2") || strings.Count(got.out, `"n1"`) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestRunFollowsEvents(t *testing.T) {
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get(wire.QueryFrom) == "1-8" { // taken up again behind the last event
			w.WriteHeader(http.StatusForbidden)
			respond(w, wire.Errorf(wire.Denied, "your role was withdrawn"))
			return
		}
		fmt.Fprint(w, "id: 1-9\ndata: {\"id\":\"1-9\",\"kind\":\"key.revoked\",\"key\":\"ci\",\"version\":3,\"index\":9}\n\n")
	}, "events --follow --from 1-3 -o json")
	var e wire.Event
	if err := json.Unmarshal([]byte(got.out), &e); err != nil || e.Kind != "key.revoked" || got.code != exitRefused || !strings.Contains(got.err, "withdrawn") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunHostileText(t *testing.T) {
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		respond(w, wire.Errorf(wire.Denied, "\x1b]0;owned\x07 no"))
	}, "key show ci")
	if strings.ContainsAny(got.err, "\x1b\x07") {
		t.Errorf("control characters reached the terminal: %q", got.err)
	}
}

func TestRunWatchesStatus(t *testing.T) {
	asked := 0
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked > 1 {
			refuse := wire.Errorf(wire.Denied, "your role was withdrawn")
			w.WriteHeader(refuse.HTTPStatus())
			respond(w, refuse)
			return
		}
		respond(w, wire.Status{Cluster: "prod", Problems: []wire.Problem{{Severity: wire.Warning, Message: "svc is overdue", Hint: "chancery key rotate svc"}}})
	}, "status --watch --timeout 2500ms")
	// A cluster in trouble is what one watches for: a refusal does not end it.
	if got.code != exitDone || !strings.Contains(got.out, "WARNING: svc is overdue") || !strings.Contains(got.out, "next: chancery key rotate svc") || asked < 2 {
		t.Errorf("asked %d times: %+v", asked, got)
	}
}

// TestWriteSparesKeys: public text goes over other public text, never over a private key.
func TestWriteSparesKeys(t *testing.T) {
	file, s := filepath.Join(t.TempDir(), "f"), new(session)
	for _, public := range []string{"a certificate", "another one"} {
		if err := s.write(file, []byte(public), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.write(file, []byte("a log"), 0o644); err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("written over a private key: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, key) {
		t.Errorf("the private key is %q now, %v", b, err)
	}
	t.Chdir(filepath.Dir(file))
	if err := os.Rename(file, "-"); err != nil {
		t.Fatal(err)
	}
	if err := s.sparesKeys("-"); err != nil {
		t.Errorf("stdout was taken for the file of that name: %v", err)
	}
}

// TestAuditViewOfAStart: a node that starts was not denied anything.
func TestAuditViewOfAStart(t *testing.T) {
	v := auditView(nil, []wire.AuditRecord{{Seq: 1, Kind: "start"}, {Seq: 2, Kind: "sign.refused", Code: "key_revoked"}, {Seq: 3, Kind: "decision", Allowed: true}})
	for i, want := range []string{"-", "denied key_revoked", "allowed"} {
		if got := v.rows[i][6]; got != want {
			t.Errorf("record %d is shown as %q, want %q", i+1, got, want)
		}
	}
}
