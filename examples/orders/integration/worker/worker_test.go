// Package worker tests the image of the worker beside a PostgreSQL and the api.
package worker

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", url, resp.Status, body, err)
	}
	return string(body)
}

func TestOrdersAreShipped(t *testing.T) {
	resp, err := http.Post("http://api:8080/orders", "application/json", strings.NewReader(`{"item":"tea","quantity":2}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		orders := get(t, "http://api:8080/orders")
		if strings.Contains(orders, `"shipped"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not shipped: %s", orders)
		}
	}
	if got := get(t, os.Getenv("APP_URL")); got != "1 shipped\n" {
		t.Errorf("the worker says %q", got)
	}
}
