package flow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/report"
)

// What became of a step.
const (
	Done      = "done"
	Unchanged = "unchanged" // there was nothing to do
	Failed    = "failed"
	Skipped   = "skipped" // an earlier step failed
)

// Step is one line of a delivery's summary.
type Step struct {
	Name    string  `json:"name"`
	Status  string  `json:"status"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// Result is a delivery's summary.
type Result struct {
	Steps       []Step `json:"steps"`
	Image       string `json:"image"`
	Environment string `json:"environment"`
	Target      string `json:"target"`
	// Commit is the one that the operator follows; pull target only.
	Commit string `json:"commit,omitempty"`
	// PullRequest is its URL, where the change is proposed.
	PullRequest string `json:"pullRequest,omitempty"`
	// Revision is the delivery's number in the cluster; push target only.
	Revision int `json:"revision,omitempty"`
}

// Changed says whether anything was pushed, committed or applied.
func (r *Result) Changed() bool {
	for _, s := range r.Steps {
		switch s.Name {
		case "publish", "deploy", "bump":
			if s.Status != Unchanged {
				return true
			}
		}
	}
	return false
}

// Run builds, tests and publishes, and brings the very image that was tested to the environment: by deploy (push), or
// by bump and wait (pull). The reports of the tests go to reports unless that is "". The result is there also when a
// step failed.
func (d *Delivery) Run(ctx context.Context, reports string) (*Result, error) {
	r := &run{d: d, reports: reports, result: &Result{Environment: d.Environment.Name, Target: d.Environment.Target}}
	scratch, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return r.result, fmt.Errorf("making a folder for the image: %w", err)
	}
	defer os.RemoveAll(scratch)
	r.tarball = filepath.Join(scratch, "image.tar")

	steps := []step{{"build", r.build}, {"test", r.test}, {"publish", r.publish}}
	if d.Environment.Target == config.Push {
		steps = append(steps, step{"deploy", r.deploy})
	} else {
		steps = append(steps, step{"bump", r.bump}, step{"wait", r.wait})
	}
	for _, s := range steps {
		err = r.step(ctx, s, err)
	}
	return r.result, err
}

// run is one delivery under way.
type run struct {
	d       *Delivery
	reports string
	tarball string
	built   *Built
	result  *Result
}

// step is one of its parts. What it returns is said to the reader.
type step struct {
	name string
	do   func(context.Context) (outcome, error)
}

type outcome struct {
	message   string
	unchanged bool // there was nothing to do
}

// step does one step, unless an earlier one failed, and notes what became of it.
func (r *run) step(ctx context.Context, s step, failure error) error {
	if failure != nil {
		r.result.Steps = append(r.result.Steps, Step{Name: s.name, Status: Skipped})
		return failure
	}
	began := time.Now()
	ctx, end := report.Start(ctx, s.name)
	out, err := s.do(ctx)
	end(out.message, err)
	done := Step{Name: s.name, Status: Done, Seconds: time.Since(began).Seconds(), Message: out.message}
	switch {
	case err != nil:
		done.Status, err = Failed, fmt.Errorf("%s: %w", s.name, err)
	case out.unchanged:
		done.Status = Unchanged
	}
	r.result.Steps = append(r.result.Steps, done)
	return err
}

func (r *run) build(ctx context.Context) (outcome, error) {
	built, err := r.d.Build(ctx, r.tarball)
	if err != nil {
		return outcome{}, err
	}
	r.built = built
	return outcome{message: built.Digest}, nil
}

func (r *run) test(ctx context.Context) (outcome, error) {
	if t := r.d.Config.Test; t.Unit == nil && t.Integration == nil {
		return outcome{message: "no tests are configured", unchanged: true}, nil
	}
	results, err := r.d.Test(ctx, r.tarball)
	if results == nil {
		return outcome{}, err
	}
	if r.reports != "" {
		_, writing := results.Write(r.reports)
		err = errors.Join(err, writing)
	}
	return outcome{message: results.Summary()}, err
}

func (r *run) publish(ctx context.Context) (outcome, error) {
	pushed, err := r.d.Publish(ctx, r.tarball, r.built.Source)
	if err != nil {
		return outcome{}, err
	}
	r.result.Image = pushed.Image
	if pushed.Unchanged {
		return outcome{message: "nothing to push: the registry has it", unchanged: true}, nil
	}
	return outcome{message: pushed.Image}, nil
}

func (r *run) deploy(ctx context.Context) (outcome, error) {
	deployed, err := r.d.Push(ctx, r.result.Image, r.built.Source)
	if deployed == nil {
		return outcome{}, err
	}
	r.result.Revision = deployed.Revision
	switch {
	case err != nil && deployed.RolledBack:
		return outcome{message: fmt.Sprintf("revision %d is back", deployed.Revision)}, err
	case err == nil && !deployed.Changed():
		return outcome{message: "nothing to change: the cluster runs it", unchanged: true}, nil
	}
	return outcome{message: fmt.Sprintf("revision %d, %s", deployed.Revision, report.Count(len(deployed.Objects), "object"))}, err
}

func (r *run) bump(ctx context.Context) (outcome, error) {
	bumped, err := r.d.Bump(ctx, r.result.Image, r.built.Source)
	if err != nil {
		return outcome{}, err
	}
	r.result.Commit, r.result.PullRequest = bumped.Commit, bumped.PullRequest
	switch {
	case bumped.PullRequest != "":
		return outcome{message: bumped.PullRequest, unchanged: bumped.Unchanged}, nil
	case bumped.Unchanged:
		return outcome{message: "nothing to commit: " + bumped.Branch + " has it", unchanged: true}, nil
	}
	return outcome{message: fmt.Sprintf("%.12s on %s", bumped.Commit, bumped.Branch)}, nil
}

func (r *run) wait(ctx context.Context) (outcome, error) {
	if r.result.PullRequest != "" {
		return outcome{message: "when the pull request is merged: aksflow wait", unchanged: true}, nil
	}
	if r.d.SetupRepo != "" {
		if err := r.d.SetUp(ctx); err != nil {
			return outcome{}, err
		}
	}
	state, err := r.d.Wait(ctx, r.result.Commit, r.result.Image)
	if err != nil {
		return outcome{}, err
	}
	return outcome{message: fmt.Sprintf("%s runs it, %s", state.Name, report.Count(len(state.Objects), "object"))}, nil
}
