package standin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// ControlURL is where a test in another process changes the estate, with the key of Server.ControlKey as a bearer token:
// GET and PUT /estate, GET /issued and /requests (every one so far), POST /job and /token?issuer=…&subject=… (see Job and
// IDToken).
const ControlURL = "https://control.standin.example"

// ControlKey lets its holder change the estate.
func (s *Server) ControlKey() string { return s.controlKey }

func newControlKey() string { return rand.Text() }

func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /estate", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Estate()) })
	mux.HandleFunc("PUT /estate", func(w http.ResponseWriter, r *http.Request) {
		var estate Estate
		if err := json.NewDecoder(r.Body).Decode(&estate); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.Change(func(e *Estate) { *e = estate })
	})
	mux.HandleFunc("GET /issued", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Issued()) })
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Requests()) })
	for path, give := range map[string]func(issuer, subject string) string{"POST /job": s.Job, "POST /token": s.IDToken} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			issuer := r.FormValue("issuer")
			if s.ci[issuer] == nil {
				http.Error(w, "no such issuer: "+issuer, http.StatusBadRequest)
				return
			}
			writeJSON(w, http.StatusOK, give(issuer, r.FormValue("subject")))
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(key), []byte(s.controlKey)) != 1 {
			http.Error(w, "the key is wrong", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
