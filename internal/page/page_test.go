package page

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
)

// document is a page that was parsed as a browser does.
type document struct {
	raw  string
	root *html.Node
}

func render(t *testing.T, r *Run) document {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, r.HTML(&out))
	root, err := html.Parse(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	return document{out.String(), root}
}

func (d document) each(visit func(*html.Node)) {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode {
			visit(n)
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what a reader sees of the element with an ID, with single spaces.
func (d document) text(id string) string {
	var b strings.Builder
	d.each(func(n *html.Node) {
		if attribute(n, "id") != id {
			return
		}
		for c := range n.Descendants() {
			if c.Type == html.TextNode {
				b.WriteString(c.Data + " ")
			}
		}
	})
	return strings.Join(strings.Fields(b.String()), " ")
}

func (d document) sections() []string {
	var ids []string
	d.each(func(n *html.Node) {
		if n.Data == "section" {
			ids = append(ids, attribute(n, "id"))
		}
	})
	return ids
}

func samples() map[string]*Run {
	return map[string]*Run{
		"delivered": delivered(), "rollout": failedRollout(), "tests": failedTests(), "proposed": proposed(), "hostile": hostile(),
		"nothing": {App: "vote", Verb: "deliver", Began: began},
	}
}

// hostile is a run in which every text tries to be more than a text.
func hostile() *Run {
	r := failedRollout()
	evil := `</script></style></title></pre>"'><script>alert(1)</script><img src=x onerror=alert(1)><a href="javascript:alert(1)">` + "\x1b]0;title\a{{.Title}}\u202e"
	r.App, r.Environment, r.Target, r.Reason, r.Image, r.Version = evil, evil, evil, evil, evil, evil
	r.Tags, r.Source.Commit, r.Commit, r.User = []string{evil}, evil, evil, evil
	r.PullRequest, r.RunURL = "javascript:alert(1)", "data:text/html,<script>alert(1)</script>"
	r.Err = errors.New(evil)
	for i := range r.Events {
		r.Events[i].Message += evil
		r.Events[i].Object += evil
		r.Events[i].PartOf += evil
	}
	r.Proofs = []Proof{{Kind: evil, By: evil, Message: evil}}
	r.Steps[0] = Step{Name: evil, Status: delivery.Status(evil), Message: evil, Detail: &delivery.Built{Layers: []delivery.Layer{{Digest: evil, CreatedBy: evil}}}}
	r.Steps[1].Detail = &delivery.Tested{Summary: evil, Tests: []delivery.Test{{Suite: evil, Name: evil, Status: "failed", Message: evil, Detail: evil, File: evil}}}
	r.Steps[2].Detail = &delivery.Bumped{Changes: []manifest.Change{{File: evil, From: evil, To: evil}}}
	r.Steps[3].Detail = &delivery.Deployed{Diff: "+" + evil, Objects: []delivery.Object{{Ref: evil, Status: "failed", Message: evil}}}
	r.Steps = append(r.Steps, Step{Name: "promote", Detail: &delivery.Promoted{From: evil, Proof: evil, Gates: []gate.Verdict{{Gate: evil, Message: evil, Override: evil}}}})
	r.Steps[3].Reasons = []delivery.Reason{{Object: evil, Reason: evil, Message: evil, Pod: evil, Container: evil, Logs: []string{evil}, File: evil, Line: 1}}
	return r
}

func TestPageNeedsNothingBesideIt(t *testing.T) {
	passive := []string{"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "article", "h1", "h2", "h3", "p", "span", "a", "pre", "code", "dl", "dt", "dd", "details", "summary", "table", "tbody", "tr", "td", "div", "ul", "li", "small", "bdi"}
	allowed := []string{"class", "id", "lang", "charset", "name", "content", "http-equiv", "href", "rel", "style", "open", "aria-hidden"}
	for name, run := range samples() {
		t.Run(name, func(t *testing.T) {
			d := render(t, run)
			d.each(func(n *html.Node) {
				assert.Contains(t, passive, n.Data, "an element that may do something")
				for _, a := range n.Attr {
					assert.Contains(t, allowed, a.Key, "an attribute that may do something")
					if a.Key == "href" {
						u, err := url.Parse(a.Val)
						require.NoError(t, err)
						assert.Equal(t, "https", u.Scheme, "a link to follow")
						assert.Equal(t, "a", n.Data)
					}
				}
			})
			for _, unwanted := range []string{"url(", "@import", "\x1b", "\u202e", "ZgotmplZ"} {
				assert.False(t, strings.Contains(d.raw, unwanted), unwanted)
			}
			assert.True(t, strings.Contains(d.raw, "default-src 'none'"))
		})
	}
}

func TestHostileTextsAreShownAsTheyAre(t *testing.T) {
	d := render(t, hostile())
	for _, id := range []string{"why", "what", "proofs", "steps", "tests", "rollout", "bump", "cluster", "layers", "logs"} {
		assert.True(t, strings.Contains(d.text(id), "<script>alert(1)</script>"), id)
	}
}

func TestPageOfEachRun(t *testing.T) {
	for name, tt := range map[string]struct {
		run      *Run
		title    string
		sections []string
		shows    map[string]string
	}{
		"delivered": {
			delivered(), "✔ Delivered to dev (push)",
			[]string{"what", "proofs", "steps", "tests", "rollout", "cluster", "layers", "warnings", "logs"},
			map[string]string{
				"what":     repository + "@" + digest,
				"steps":    "deploy done 8.0 s revision 7, 2 objects",
				"rollout":  "Pod/vote-6d9f7c-x2x4v ready +0.8 s not scheduled yet +1.0 s Scheduled: assigned to aks-pool-1",
				"proofs":   "unverified tests passed: 2 passed, 2026-02-03 10:00 UTC; it does not count: it is not signed verified record of dev, signed by ci.pub",
				"layers":   "3 layers, 48.7 MB compressed",
				"cluster":  "configured Deployment/vote",
				"warnings": "app has changes that are not committed",
			},
		},
		"rollout failed": {
			failedRollout(), "✘ Not delivered to dev (push): revision 6 is back",
			[]string{"why", "what", "proofs", "steps", "tests", "rollout", "cluster", "layers", "warnings", "logs"},
			map[string]string{"why": "Deployment/vote CrashLoopBackOff it exits with 1 pod vote-6d9f7c-x2x4v, container vote Traceback"},
		},
		"tests failed": {
			failedTests(), "✘ Not delivered to dev (push)",
			[]string{"why", "what", "proofs", "steps", "tests", "layers", "warnings", "logs"},
			map[string]string{"tests": "tests.unit.test_page.test_color failed assert 'red' == 'blue' unit , app/tests/unit/test_page.py:41 def test_color(page)"},
		},
		"proposed": {
			proposed(), "• Proposed for production (pull)",
			[]string{"what", "proofs", "steps", "tests", "bump", "layers", "warnings", "logs"},
			map[string]string{"bump": "apps/vote/kustomization.yaml:12 - vote@sha256:0c5dc4 + vote@" + digest},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := render(t, tt.run)
			d.each(func(n *html.Node) {
				if n.Data == "title" {
					assert.Equal(t, tt.title, n.FirstChild.Data)
				}
			})
			assert.Equal(t, tt.sections, d.sections(), "the verdict comes first, then why")
			for id, want := range tt.shows {
				assert.Contains(t, d.text(id), want)
			}
		})
	}
}

func TestSecretsReachNeitherPageNorSummary(t *testing.T) {
	const secret = "hunter2-hunter2"
	r := hostile()
	r.Hide = report.NewScrubber([]string{secret}).Text
	r.Err = errors.New("refused: " + secret)
	for i := range r.Events {
		r.Events[i].Message += secret
	}
	for i := range r.Steps {
		r.Steps[i].Message = secret
	}
	r.Steps[1].Detail = &delivery.Tested{Tests: []delivery.Test{{Suite: "unit", Name: secret, Status: "failed", Message: secret, Detail: secret, File: secret}}}
	r.Steps = append(r.Steps, Step{Name: "promote", Detail: &delivery.Promoted{From: secret, Proof: secret, Gates: []gate.Verdict{{Gate: secret, Message: secret, Override: secret}}}})
	r.Steps[3].Reasons = []delivery.Reason{{Message: secret, Logs: []string{secret}}}
	r.Steps[3].Detail = &delivery.Deployed{Diff: "+" + secret, Objects: []delivery.Object{{Ref: "x", Message: secret}}}
	assert.False(t, strings.Contains(render(t, r).raw, secret), "the page")
	assert.False(t, strings.Contains(r.Markdown(), secret), "the summary")
}

func TestMarkdown(t *testing.T) {
	assert.Equal(t, "### "+`Proposed for production (pull)

Image `+"`"+repository+"@"+digest+"`"+`

Commit `+"`3c1f0292015e5e5e`"+`

Pull request <https://github.com/team/config/pull/7>

| Step | Status | Seconds |  |
| --- | --- | --- | --- |
| build | done | 5.0 | c9d679eea6ed |
| test | done | 9.0 | 2 passed |
| publish | done | 3.0 | `+repository+"@"+digest+` |
| bump | done | 1.2 | pull request 7 |

`, proposed().Markdown())

	failed := failedTests().Markdown()
	assert.True(t, strings.HasPrefix(failed, "### ✘ Not delivered to dev (push)\n"))
	assert.Contains(t, failed, "| test | failed | 9.0 | 2 passed, 1 failed |\n| publish | skipped |  |  |\n")
	assert.Contains(t, failed, "| unit: tests.unit.test_page.test_color | app/tests/unit/test_page.py:41 | assert 'red' == 'blue' |")
	assert.True(t, strings.HasSuffix(failed, "```text\n"+failedTests().Err.Error()+"\n```\n\n"))
}

func TestTheSummarySaysWhyNothingIsDelivered(t *testing.T) {
	r := Run{Verb: "deliver", Reason: "branch feature/x is built and tested only", Steps: []Step{{Name: "build", Status: delivery.Done}}}
	assert.Contains(t, r.Markdown(), "### Built and tested, not delivered\n\nbranch feature/x is built and tested only\n")
}

func TestTitles(t *testing.T) {
	for want, run := range map[string]Run{
		"✔ Nothing new: dev (push) runs this source already":                           {Environment: "dev", Target: "push", Delivered: true},
		"Held in dev (push): revision 7 waits for `aksflow resume` or `aksflow abort`": {Environment: "dev", Target: "push", Held: true, Revision: 7},
		"Built and tested, not delivered":                                              {Verb: "deliver"},
		"✘ Not built and tested":                                                       {Verb: "deliver", Err: errors.New("no")},
		"✔ The tests passed":                                                           {Verb: "test"},
		"✘ The tests failed":                                                           {Verb: "test", Err: errors.New("no")},
	} {
		assert.Equal(t, want, run.Headline())
	}
}

// A page says what the gates said, and who opened one that was closed.
func TestGates(t *testing.T) {
	r := delivered()
	r.Steps[0] = Step{Name: "promote", Status: delivery.Done, Detail: &delivery.Promoted{From: "staging", Proof: "proved in staging", Gates: []gate.Verdict{
		{Gate: "approve", Open: true, Message: "approved by ann.pub"}, {Gate: "soak", Message: "healthy for 2m of 30m", Override: "on-call.pub: the shop is down"},
	}}}
	page := render(t, r).raw
	for _, text := range []string{"staging: proved in staging", "<dt>Gate approve</dt><dd>approved by ann.pub</dd>", "<dt>Gate soak opened by</dt><dd>on-call.pub: the shop is down</dd>"} {
		assert.Contains(t, page, text)
	}
	assert.Contains(t, r.Markdown(), "| Gate soak opened by | on-call.pub: the shop is down |")
}

// A log is put together without copying what is there for each line.
func TestPageOfALongLog(t *testing.T) {
	r := failedTests()
	for i := range 20000 {
		r.Events = append(r.Events, report.Event{Kind: report.Log, Step: "test", Object: "unit", Message: fmt.Sprintf("%d %s", i, strings.Repeat("x", 80))})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	logs := r.logs()
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20))
	require.Len(t, logs, 1)
	assert.Equal(t, 20001, strings.Count(logs[0].Text, "\n"))
	assert.True(t, strings.HasSuffix(logs[0].Text, "x\n"))
}

// Of very many reasons some are enough to see why: what comes below them is to be found.
func TestPageOfManyFailures(t *testing.T) {
	r := failedTests()
	for i := range 2000 {
		r.Steps[1].Reasons = append(r.Steps[1].Reasons, delivery.Reason{Object: fmt.Sprintf("unit: test_%d", i), Message: "no"})
	}
	why := render(t, r).text("why")
	assert.Contains(t, why, "test_48")
	assert.NotContains(t, why, "test_49")
	assert.Contains(t, why, "… and 1951 more")
	assert.NotContains(t, render(t, failedTests()).text("why"), "more")
}
