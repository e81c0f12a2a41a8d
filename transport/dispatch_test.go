package transport

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chancery-project/chancery/transport/wire"
)

// TestDispatch: a path that is not written as it is meant gets an error object like any
// other that is not there, and no redirect in HTML.
func TestDispatch(t *testing.T) {
	m := http.NewServeMux()
	m.HandleFunc("/keys/{name}", func(http.ResponseWriter, *http.Request) {})
	m.HandleFunc("/files/{rest...}", func(http.ResponseWriter, *http.Request) {})
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, c := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/keys/ci", 200},
		{"GET", "/keys/%2e%2e", 200}, // a name, and one that the route refuses
		{"GET", "/keys/a%2Fb", 200},
		{"GET", "/files/", 200},
		{"GET", "/", http.StatusTeapot},
		{"POST", "/keys//ci", 404},
		{"GET", "//keys/ci", 404},
		{"GET", "/x/../keys/ci", 404},
		{"GET", "/keys/.", 404},
		{"GET", "/files//", 404},
		{"CONNECT", "evil.test:443", 404},
	} {
		r := httptest.NewRequest(c.method, c.target, nil)
		w := httptest.NewRecorder()
		Dispatch(m).ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.target, w.Code, w.Body, c.status)
		}
		var e wire.Error
		if c.status == 404 && (json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Code != wire.NotFound) {
			t.Errorf("%s %s: %s", c.method, c.target, w.Body)
		}
	}
}
