package embedded

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/healthcheck"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// awaitHealth returns when a check of a running service succeeds, or when the service is unhealthy by its own definition.
func awaitHealth(ctx context.Context, h *healthcheck.Check, r *service, ctr gateway.Container, c *container) error {
	giveUp := time.Now().Add(h.Grace)
	for {
		said, err := checkHealth(ctx, h, ctr, c)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("it is not healthy yet: its HEALTHCHECK %q: %w%s", h.Command, context.Cause(ctx), said)
		case time.Now().After(giveUp):
			return fmt.Errorf("it is unhealthy after %v: its HEALTHCHECK %q: %w%s", h.Grace, h.Command, err, said)
		}
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
		case <-time.After(h.Pause):
		}
	}
}

// checkHealth makes one check. It returns the end of what the check printed, as the end of a sentence. The shim ends a check that
// takes too long, and hides its exit code from BuildKit.
func checkHealth(ctx context.Context, h *healthcheck.Check, ctr gateway.Container, c *container) (said string, err error) {
	var out buffer
	process, err := ctr.Start(ctx, gateway.StartRequest{
		Args: slices.Concat([]string{contract.Shim, "check", "-timeout", h.Timeout.String(), "--"}, h.Command),
		Env:  c.env(), User: c.config.Config.User, Cwd: c.abs("."), Stdout: &out, Stderr: &out,
	})
	if err == nil {
		err = process.Wait()
	}
	printed, code, found := bytes.Cut(out.Bytes(), []byte("\n"+contract.CodePrefix))
	if err == nil && (!found || string(bytes.TrimSpace(code)) != "0") {
		err = fmt.Errorf("exit code %s", bytes.TrimSpace(code))
	}
	if text := bytes.TrimSpace(printed); len(text) > 0 {
		said = "; it printed: " + failure.LastLines(string(text))
	}
	return said, err
}

// buffer is a buffer that can be closed.
type buffer struct{ bytes.Buffer }

// Close implements [io.Closer].
func (*buffer) Close() error { return nil }
