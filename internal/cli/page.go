package cli

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/page"
)

// reportFile is the name of the report in the folder of --report.
const reportFile = "report.html"

// describe keeps what became of a run for the summary of a CI system, and writes the report if one was asked for. Nothing is
// known of a run that failed before its first step.
func (r *request) describe(ctx context.Context, verb string, d *flow.Delivery, result *flow.Result, err error) {
	if result == nil {
		return
	}
	r.g.page = newPage(verb, d, result, err)
	if r.Reports != "" && ctx.Err() == nil {
		attached, err := d.Attached(ctx, result.Image)
		if err != nil {
			report.Warn(ctx, "the report does not have what is attached to the image: %v", err)
		}
		r.g.page.Proofs = proofs(attached)
	}
	r.g.page.Began, r.g.page.Elapsed = r.g.began, time.Since(r.g.began)
	r.g.page.Events = r.g.recorder.Events()
	if r.Reports == "" {
		return
	}
	path := filepath.Join(r.Reports, reportFile)
	if err := writePage(path, r.g.page); err != nil {
		report.Warn(ctx, "the report is not written: %v", err)
		return
	}
	report.Info(ctx, "report: %s", path)
}

// newPage is a run in the terms of package page.
func newPage(verb string, d *flow.Delivery, r *flow.Result, err error) *page.Run {
	p := &page.Run{
		App: d.App(), Verb: verb, Environment: r.Environment, Target: r.Target, Reason: r.Reason,
		Delivered: r.Delivered, Held: r.Held, RolledBack: r.RolledBack, Changed: r.Changed,
		Image: r.Image, Version: r.Version, Tags: r.Tags, Source: r.Source, Commit: r.Commit,
		PullRequest: r.PullRequest, Revision: r.Revision, Err: err,
		RunURL: d.RunURL, User: d.User, Hide: d.Hide,
	}
	for _, s := range r.Steps {
		p.Steps = append(p.Steps, page.Step(s))
	}
	return p
}

// proofs are what is attached to an image in the terms of package page.
func proofs(attached *delivery.Verified) []page.Proof {
	if attached == nil {
		return nil
	}
	var out []page.Proof
	for _, p := range attached.Proofs {
		one := page.Proof{Kind: p.Title(), By: cmp.Or(p.By, p.Signed), Message: p.Says, Verified: p.By != ""}
		if made := p.Time.UTC().Format("2006-01-02 15:04 MST"); !p.Time.IsZero() && !strings.Contains(p.Says, made) {
			one.Message += ", " + made
		}
		if p.Why != "" {
			one.Message += "; it does not count: " + p.Why
		}
		out = append(out, one)
	}
	for _, problem := range attached.Problems {
		out = append(out, page.Proof{Kind: "unreadable", Message: problem})
	}
	return out
}

func writePage(path string, run *page.Run) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := run.HTML(&text); err != nil {
		return err
	}
	return renameio.WriteFile(path, text.Bytes(), 0o644)
}
