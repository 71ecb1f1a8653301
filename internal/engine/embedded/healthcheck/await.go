package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// Await returns when a check in a running container succeeds, or when the container is unhealthy by its own definition. Checks
// run with the environment, the user and the directory of as. When ended is closed, the error is that of end.
func (h *Check) Await(ctx context.Context, ctr gateway.Container, as gateway.StartRequest, ended <-chan struct{}, end func() error) error {
	giveUp := time.Now().Add(h.Grace)
	for {
		said, err := h.run(ctx, ctr, as)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("it is not healthy yet: its HEALTHCHECK %q: %w%s", h.Command, context.Cause(ctx), said)
		case time.Now().After(giveUp):
			return fmt.Errorf("it is unhealthy after %s: its HEALTHCHECK %q: %w%s", report.Span(h.Grace), h.Command, err, said)
		}
		select {
		case <-ended:
			return end()
		case <-ctx.Done():
		case <-time.After(h.Pause):
		}
	}
}

// run makes one check. It returns the end of what the check printed, as the end of a sentence. The shim ends a check that
// takes too long, and hides its exit code from BuildKit.
func (h *Check) run(ctx context.Context, ctr gateway.Container, as gateway.StartRequest) (said string, err error) {
	var out buffer
	as.Args = slices.Concat([]string{contract.Shim, "check", "-timeout", h.Timeout.String(), "--"}, h.Command)
	as.Stdout, as.Stderr = &out, &out
	process, err := ctr.Start(ctx, as)
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
