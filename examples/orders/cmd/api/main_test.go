package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/orders/internal/orders"
)

// memory is a store without a database.
type memory struct {
	all  []orders.Order
	down error
}

func (m *memory) Ping(context.Context) error { return m.down }

func (m *memory) Add(_ context.Context, o orders.Order) (orders.Order, error) {
	o.ID, o.Status = int64(len(m.all)+1), "open"
	m.all = append(m.all, o)
	return o, m.down
}

func (m *memory) List(context.Context) ([]orders.Order, error) { return m.all, m.down }

func request(s store, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler(s).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestOrdersAreListed(t *testing.T) {
	m := &memory{}
	if w := request(m, "POST", "/orders", `{"item":"tea","quantity":2}`); w.Code != http.StatusCreated {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	got := request(m, "GET", "/orders", "").Body.String()
	if want := `[{"id":1,"item":"tea","quantity":2,"status":"open"}]`; strings.TrimSpace(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWrongOrdersAreRefused(t *testing.T) {
	for _, body := range []string{"", "tea", `{"item":"tea","quantity":0}`} {
		if w := request(&memory{}, "POST", "/orders", body); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, w.Code)
		}
	}
}

func TestHealth(t *testing.T) {
	if w := request(&memory{down: errors.New("gone")}, "GET", "/healthz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without a database: %d", w.Code)
	}
	if w := request(&memory{}, "GET", "/healthz", ""); w.Code != http.StatusOK {
		t.Errorf("with one: %d", w.Code)
	}
}
