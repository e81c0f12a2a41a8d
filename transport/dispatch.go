package transport

import (
	"net/http"
	"path"

	"github.com/chancery-project/chancery/transport/wire"
)

// Dispatch serves m for paths that are written as they are meant. http.ServeMux would
// answer the others with HTML: a redirect for //, /./ and /../, and its own "not found"
// for CONNECT, which has no path.
func Dispatch(m *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); r.Method == http.MethodConnect || !isClean(p) {
			WriteError(w, wire.Errorf(wire.NotFound, "there is no path %.100q", p))
			return
		}
		m.ServeHTTP(w, r)
	})
}

func isClean(p string) bool {
	if n := len(p); n > 1 && p[n-1] == '/' {
		p = p[:n-1]
	}
	return p != "" && p[0] == '/' && path.Clean(p) == p
}
