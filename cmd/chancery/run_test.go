package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
