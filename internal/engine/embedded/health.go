package embedded

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// What Docker does where a HEALTHCHECK says nothing: https://docs.docker.com/reference/dockerfile/#healthcheck
const (
	healthInterval = 30 * time.Second
	healthTimeout  = 30 * time.Second
	healthRetries  = 3
)

// maxHealthPause bounds the time between two checks, so that a service with a long interval is not found ready long after
// it is.
const maxHealthPause = 2 * time.Second

// healthCheck is an image's HEALTHCHECK.
type healthCheck struct {
	command []string
	pause   time.Duration // between two checks
	timeout time.Duration // of one check
	grace   time.Duration // from the start until a service that was never healthy is given up
}

// healthCheck returns the container's check, nil if it has none.
func (c *container) healthCheck() *healthCheck {
	h := c.config.Config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	check := &healthCheck{command: h.Test[1:], timeout: cmp.Or(h.Timeout, healthTimeout)}
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		shell := c.config.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		check.command = slices.Concat(shell, h.Test[1:])
	default: // NONE
		return nil
	}
	interval := cmp.Or(h.Interval, healthInterval)
	check.pause = cmp.Or(h.StartInterval, min(interval, maxHealthPause))
	check.grace = h.StartPeriod + time.Duration(cmp.Or(h.Retries, healthRetries))*interval
	return check
}

// wait returns when a check of a running service succeeds, or when the service is unhealthy by its own definition.
func (h *healthCheck) wait(ctx context.Context, r *service, ctr gateway.Container, c *container) error {
	giveUp := time.Now().Add(h.grace)
	for {
		said, err := h.run(ctx, ctr, c)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("it is not healthy yet: its HEALTHCHECK %q: %w%s", h.command, context.Cause(ctx), said)
		case time.Now().After(giveUp):
			return fmt.Errorf("it is unhealthy after %v: its HEALTHCHECK %q: %w%s", h.grace, h.command, err, said)
		}
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
		case <-time.After(h.pause):
		}
	}
}

// run makes one check. It returns the end of what the check printed, as the end of a sentence. The shim ends a check that
// takes too long, and hides its exit code from BuildKit.
func (h *healthCheck) run(ctx context.Context, ctr gateway.Container, c *container) (said string, err error) {
	var out buffer
	process, err := ctr.Start(ctx, gateway.StartRequest{
		Args: slices.Concat([]string{contract.Shim, "check", "-timeout", h.timeout.String(), "--"}, h.command),
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
		said = "; it printed: " + lastLines(string(text))
	}
	return said, err
}

// buffer is a buffer that can be closed.
type buffer struct{ bytes.Buffer }

// Close implements [io.Closer].
func (*buffer) Close() error { return nil }
