// worker ships the orders that the api took.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
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
	w := &worker{store: store}
	server := &http.Server{Addr: ":8080", Handler: w, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	w.run(ctx, 200*time.Millisecond)
	_ = server.Shutdown(context.Background())
}

type worker struct {
	store interface {
		Ship(context.Context) (id int64, found bool, err error)
	}
	shipped atomic.Int64
	failure atomic.Pointer[error]
}

// run ships orders until ctx ends. It looks again after a pause when there was none.
func (w *worker) run(ctx context.Context, pause time.Duration) {
	for ctx.Err() == nil {
		id, found, err := w.store.Ship(ctx)
		if err != nil {
			log.Print(err)
			w.failure.Store(&err)
		} else {
			w.failure.Store(nil)
		}
		if found {
			log.Printf("shipped order %d", id)
			w.shipped.Add(1)
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// ServeHTTP says how many orders were shipped, and whether the database answered the last time.
func (w *worker) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	if err := w.failure.Load(); err != nil {
		http.Error(rw, (*err).Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(rw, "%d shipped\n", w.shipped.Load())
}
