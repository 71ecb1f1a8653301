package gittest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
)

// Hub is a stand-in for the part of GitHub's API that tests read: it has one answer for each path, for whoever has [Token].
type Hub struct {
	*httptest.Server
	// Answers are what the paths below /api/v3/ are answered with: a list, page by page; an int, which is a status; or any
	// other value. What is not there is not found.
	Answers map[string]any
}

// NewHub starts a stand-in that has no answers yet.
func NewHub(t testing.TB) *Hub {
	t.Helper()
	h := &Hub{Answers: map[string]any{}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	answer, found := h.Answers[r.URL.Path[len("/api/v3/"):]]
	if status, ok := answer.(int); ok {
		refuse(w, status)
		return
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		refuse(w, http.StatusUnauthorized)
	case !found:
		refuse(w, http.StatusNotFound)
	default:
		if list, ok := answer.([]any); ok {
			answer = page(w, r, list)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"message":%q}`, http.StatusText(status))
}

// pageSize is how many items a page has at most, so that lists of tests have several.
const pageSize = 2

// page returns the part of a list that a request asks for, with a link to the next part.
func page(w http.ResponseWriter, r *http.Request, list []any) []any {
	n, err := strconv.Atoi(r.FormValue("page"))
	if err != nil {
		n = 1
	}
	from, to := min((n-1)*pageSize, len(list)), min(n*pageSize, len(list))
	if to < len(list) {
		next := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: url.Values{"page": {strconv.Itoa(n + 1)}}.Encode()}
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", next.String()))
	}
	return list[from:to]
}
