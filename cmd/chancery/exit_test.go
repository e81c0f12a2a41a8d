package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestExitCodes(t *testing.T) {
	op := &wire.Operation{RequestID: "r-1", Proposal: "p-81", Needs: 2}
	for _, c := range []struct {
		err  error
		exit int
		code string
	}{
		{usagef("x"), 2, "usage"},
		{errors.New(`Required flag "config" not set`), 2, "usage"},
		{failedf("x"), 5, "check_failed"},
		{errors.Join(nil, failedf("x")), 5, "check_failed"},
		{&waitTimedOut{op, wire.Fenced, nil}, 3, "wait_timed_out"},
		{&pendingApproval{op}, 6, "pending_approval"},
		{&client.OutcomeUnknown{RequestID: "r-1", Err: context.DeadlineExceeded}, 4, "outcome_unknown"},
		{&client.OutcomeUnknown{RequestID: "r-1", Err: wire.Errorf(wire.Denied, "no")}, 4, "outcome_unknown"},
		{&client.Unavailable{Err: errors.New("refused")}, 3, "unavailable"},
		{&client.Unavailable{Err: wire.Errorf(wire.NoLease, "no lease")}, 3, "no_lease"},
		{&client.EpochChanged{Was: 1, Now: 2}, 1, "epoch_changed"},
		{context.DeadlineExceeded, 3, "timed_out"},
		{fmt.Errorf("sign: %w", wire.Errorf(wire.KeyRevoked, "revoked")), 1, "key_revoked"},
		{errors.New("open x: no such file"), 1, "failed"},
	} {
		if e := describe(c.err); e.Exit != c.exit || e.Code != c.code {
			t.Errorf("%v: exit %d %s, want %d %s", c.err, e.Exit, e.Code, c.exit, c.code)
		}
	}
	// Every refusal of the wire that is not "try later" or "unknown" is exit 1.
	for _, row := range wire.Codes {
		want := exitRefused
		switch {
		case row.Code == wire.OutcomeUnknown:
			want = exitUnknown
		case row.Status == 503:
			want = exitUnavailable
		}
		if e := describe(wire.Errorf(row.Code, "x")); e.Exit != want || e.Code != string(row.Code) {
			t.Errorf("%s: exit %d %s, want %d", row.Code, e.Exit, e.Code, want)
		}
	}
}

// TestLostWhileWaiting: what is committed stays so when no node answers any more.
func TestLostWhileWaiting(t *testing.T) {
	c, err := client.New(client.Config{Addrs: []string{"http://127.0.0.1:1"}, Token: "chy_test", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := &session{ctx: t.Context(), err: new(bytes.Buffer)}
	_, err = s.follow(c, &wire.Operation{RequestID: "r-1", Verb: "revoke", Reached: wire.Committed}, wire.Fenced)
	e := describe(err)
	if e.Exit != exitUnavailable || e.RequestID != "r-1" || e.Operation == nil || e.Hint != "chancery wait r-1 --for fenced" || !strings.Contains(e.Message, "no node could") {
		t.Errorf("%v is told as %+v", err, e)
	}
}

func TestReportIsOneObject(t *testing.T) {
	var b bytes.Buffer
	if code := report(&b, true, &waitTimedOut{&wire.Operation{RequestID: "r-1", Verb: "revoke", Reached: wire.Committed}, wire.Fenced, nil}); code != 3 {
		t.Errorf("code = %d", code)
	}
	var e cliError
	d := json.NewDecoder(&b)
	if err := d.Decode(&e); err != nil || e.RequestID != "r-1" || e.Operation.Verb != "revoke" || d.More() {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestPlain(t *testing.T) {
	if got := plain("a\x1b[31mb\u0085c\n\td"); got != "a\ufffd[31mb\ufffdc\n\td" {
		t.Errorf("plain = %q", got)
	}
}

func TestInert(t *testing.T) {
	for in, want := range map[string]string{"=1+1": "'=1+1", "-1": "'-1", "-": "-", "@x": "'@x", "ok": "ok", "": ""} {
		if got := inert(in); got != want {
			t.Errorf("inert(%q) = %q, want %q", in, got, want)
		}
	}
}
