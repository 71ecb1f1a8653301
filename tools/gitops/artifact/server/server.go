// Package server serves stored artifacts.
package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fluxcd/pkg/artifact/config"
)

// Start serves the storage directory over HTTP until ctx ends.
func Start(ctx context.Context, o *config.Options) error {
	server := &http.Server{
		Addr: o.StorageAddress, Handler: http.FileServer(http.Dir(o.StoragePath)), ReadHeaderTimeout: time.Minute,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
