package main

import (
	"reflect"
	"testing"
)

// TestVerbRows pins what the table says where a user would be hurt by a mistake.
func TestVerbRows(t *testing.T) {
	rows := map[string]keyVerbRow{}
	for _, r := range verbRows() {
		rows[r.Verb] = r
		if r.State == "" || r.InJWKS == "" || r.MaySign == "" || r.Fenced == "" || r.Reversible == "" || len(r.WhoMay) == 0 {
			t.Errorf("an empty cell: %+v", r)
		}
	}
	if r := rows["revoke for a compromise"]; r.State != "compromised" || r.MaySign != "no" || !reflect.DeepEqual(r.WhoMay, []string{"admin", "operator", "approver"}) {
		t.Errorf("%+v", r)
	}
	for verb, want := range map[string]string{"suspend": "yes", "deactivate": "yes", "revoke for a compromise": "yes", "revoke certificateHold": "yes", "resume": "no", "create": "no", "destroy": "no"} {
		if rows[verb].Fenced != want {
			t.Errorf("%s: fenced %q, want %q", verb, rows[verb].Fenced, want)
		}
	}
	if r := rows["activate"]; r.State != "active" || r.MaySign != "yes" || !reflect.DeepEqual(r.From, []string{"pre-activation"}) {
		t.Errorf("%+v", r)
	}
	if r := rows["destroy"]; r.State != "destroyed or compromised" || !reflect.DeepEqual(r.From, []string{"deactivated", "compromised"}) {
		t.Errorf("%+v", r)
	}
	if r := rows["resume"]; r.MaySign != "as before" || !reflect.DeepEqual(r.From, []string{"suspended"}) {
		t.Errorf("%+v", r)
	}
}
