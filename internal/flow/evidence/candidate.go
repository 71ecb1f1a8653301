// Package evidence reads and writes what is known about an image: the results of its tests, and whether it may go from one
// environment to the next.
package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/target"
)

// Candidate is an image on its way from one environment to the next.
type Candidate struct {
	From    string  // the name of the environment
	Image   ref.Ref // in the repository of From
	Running target.Running
	Health  target.Health
	Found   *proof.Found
	Verdict *proof.Verdict // of the environment that it goes to; nil where that verifies nothing
	Record  proof.Record   // the newest of From that counts; Check finds it
}

// Check wants that the environment accepts the image, and that the newest record of the one before says that it proved
// there. Where signatures count, only a signed record proves; anybody's record withdraws.
func (c *Candidate) Check(to string) error {
	name, digest := c.From, c.Image.Digest
	if err := c.Found.Err(); err != nil {
		return fmt.Errorf("what is attached to %s cannot be read, and may be what withdraws it: %w", c.Image, err)
	}
	if c.Verdict != nil {
		if err := c.Verdict.Err(); err != nil {
			return fmt.Errorf("%s refuses %s (`aksflow deliver --env %s --rebuild --retest` makes its proofs anew): %w", to, c.Image, name, err)
		}
	}
	all, err := c.Found.Records(name)
	if err != nil {
		return err
	}
	records, err := c.Counted().Records(name)
	if err != nil {
		return err
	}
	if len(all) > 0 && all[0].Status == proof.StatusWithdrawn {
		records = all
	}
	if len(records) == 0 && len(all) > 0 {
		return fmt.Errorf("%s refuses %s: that it proved in %s is not signed by somebody whose signature counts: name who delivers there under verify.signers of %s, and sign there: environments.%s.sign", to, c.Image, name, to, name)
	}
	if len(records) == 0 {
		return fmt.Errorf("%s runs %s, and there is no record that it proved there: deliver it to %s once more, or say why it did with `aksflow promote --to ENVIRONMENT --proved-by-hand REASON`", name, digest, name)
	}
	c.Record = records[0]
	if c.Record.Status != proof.StatusProved {
		return fmt.Errorf("%s was withdrawn from %s at %s: %s; deliver there again what is to be promoted", digest, name,
			c.Record.Time.UTC().Format("2006-01-02 15:04 MST"), cmp.Or(c.Record.Reason, "no reason is given"))
	}
	return nil
}

// Counted are the proofs that count: all of them where nothing is verified.
func (c *Candidate) Counted() *proof.Found {
	if c.Verdict == nil {
		return c.Found
	}
	counted := &proof.Found{Digest: c.Found.Digest}
	for _, p := range c.Verdict.Proofs {
		if p.Why == nil {
			counted.Proofs = append(counted.Proofs, p.Proof)
		}
	}
	return counted
}

// Facts are what the gates ask.
func (c *Candidate) Facts(now time.Time) gate.Facts {
	f := gate.Facts{
		Now: now, From: c.From, Unhealthy: c.Health.Problem,
	}
	if branch, ok := gitflow.Branch(c.Record.Ref); ok {
		f.Branch = branch
	}
	if f.Unhealthy != "" {
		return f
	}
	f.HealthySince = c.provedSince()
	for _, since := range []time.Time{c.Running.Since, c.Health.Since} {
		if since.After(f.HealthySince) {
			f.HealthySince = since
		}
	}
	return f
}

// provedSince is when the first of the records was made since which the image was not withdrawn.
func (c *Candidate) provedSince() time.Time {
	since := c.Record.Time
	records, err := c.Counted().Records(c.From)
	if err != nil {
		return since
	}
	for _, r := range records {
		if r.Status != proof.StatusProved {
			break
		}
		since = r.Time
	}
	return since
}

// Closed says which gates are closed, and when they open.
func Closed(env, digest string, closed []gate.Verdict) error {
	var errs []error
	for _, v := range closed {
		errs = append(errs, fmt.Errorf("%s is not open for %.19s: %s: %s", env, digest, v.Gate, v.Message))
	}
	return errors.Join(errs...)
}

// Markdown is what speaks for an image, in Markdown.
func (c *Candidate) Markdown(promoted *delivery.Promoted) string {
	rows := [][]string{
		{"Image", "`" + promoted.Digest + "`"},
		{"Promoted from", promoted.From},
		{"Proof", link(promoted.Proof, c.Record.RunURL)},
	}
	if promoted.Source.Commit != "" {
		rows = append(rows, []string{"Source", "`" + promoted.Source.Commit + "`"})
	}
	if tests, err := c.Counted().Tests(); err == nil && len(tests) > 0 {
		text := strings.ToLower(tests[0].Result) + ": " + Summary(tests[0])
		rows = append(rows, []string{"Tests", link(text, tests[0].URL)})
	}
	if built, err := c.Counted().Provenance(); err == nil && len(built) > 0 {
		run := built[0].RunDetails
		rows = append(rows, []string{"Built by", link(cmp.Or(run.Builder.ID, "unknown"), run.Metadata.InvocationID)})
	}
	rows = append(rows, promoted.GateRows()...)
	text := report.MarkdownTable([]string{"", ""}, rows)
	if promoted.Unverified {
		text += "\nUnverified: nobody has checked who signed this.\n"
	}
	return text
}

// link is a text that leads to a page, if there is one.
func link(text, url string) string {
	if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
		return text
	}
	return fmt.Sprintf("[%s](%s)", text, url)
}

// Describe is a record in one line.
func Describe(r proof.Record) string {
	text := fmt.Sprintf("%s in %s at %s", r.Status, r.Environment, r.Time.UTC().Format("2006-01-02 15:04 MST"))
	if r.How != "" {
		text += " by " + r.How
	}
	return text
}
