// api takes orders over HTTP. `api migrate` brings the database's tables up to date and ends.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/orders/internal/orders"
)

func main() {
	store, err := orders.Open()
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	migrate := len(os.Args) > 1 && os.Args[1] == "migrate"
	// Where nothing runs `api migrate` before, as beside the tests.
	if migrate || os.Getenv("MIGRATE") != "" {
		if err := store.Migrate(ctx); err != nil {
			log.Fatalf("migrate: %v", err)
		}
		log.Print("the tables are up to date")
	}
	if migrate {
		return
	}
	server := &http.Server{Addr: ":8080", Handler: handler(store), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		log.Print("ending")
		_ = server.Shutdown(context.Background())
	})
	log.Print("listening on " + server.Addr)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

type store interface {
	Ping(context.Context) error
	Add(context.Context, orders.Order) (orders.Order, error)
	List(context.Context) ([]orders.Order, error)
}

func handler(s store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Ping(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		all, err := s.List(r.Context())
		answer(w, http.StatusOK, all, err)
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		var o orders.Order
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&o)
		if err == nil {
			err = o.Check()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o, err = s.Add(r.Context(), o)
		answer(w, http.StatusCreated, o, err)
	})
	return mux
}

func answer(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		log.Print(err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
