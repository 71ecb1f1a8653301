// Package healthcheck reads the HEALTHCHECK of images, and runs it in containers.
package healthcheck

import (
	"cmp"
	"slices"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// What Docker does where a HEALTHCHECK says nothing: https://docs.docker.com/reference/dockerfile/#healthcheck
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 3
)

// maxPause bounds the time between two checks, so that a service with a long interval is not found ready long after
// it is.
const maxPause = 2 * time.Second

// Check is an image's HEALTHCHECK.
type Check struct {
	Command []string
	Pause   time.Duration // between two checks
	Timeout time.Duration // of one check
	Grace   time.Duration // from the start until a service that was never healthy is given up
}

// Of returns the check of an image's configuration, nil if it has none.
func Of(config dockerspec.DockerOCIImageConfig) *Check {
	h := config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	check := &Check{Command: h.Test[1:], Timeout: cmp.Or(h.Timeout, defaultTimeout)}
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		shell := config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		check.Command = slices.Concat(shell, h.Test[1:])
	default: // NONE
		return nil
	}
	interval := cmp.Or(h.Interval, defaultInterval)
	check.Pause = cmp.Or(h.StartInterval, min(interval, maxPause))
	check.Grace = h.StartPeriod + time.Duration(cmp.Or(h.Retries, defaultRetries))*interval
	return check
}
