// Package api tests the image of the api beside a PostgreSQL.
package api

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

var url = os.Getenv("APP_URL")

func TestOrdersAreKept(t *testing.T) {
	resp, err := http.Post(url+"/orders", "application/json", strings.NewReader(`{"item":"tea","quantity":2}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, body)
	}
	resp, err = http.Get(url + "/orders")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []struct{ Item, Status string }
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Item != "tea" || all[0].Status != "open" {
		t.Errorf("the orders are %v", all)
	}
}

func TestHealth(t *testing.T) {
	resp, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}
