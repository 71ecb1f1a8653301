package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

// tones are the colours of statuses; the others have none.
var tones = map[string]string{
	"done": "good", "passed": "good", "ready": "good", "created": "good", "configured": "good",
	"failed": "bad", "error": "bad", "held": "open", "restored": "open", "removed": "open", "pruned": "open",
}

// steps shows each step with its share of the run's time.
func (r *Run) steps() []stepView {
	began := map[string]time.Time{}
	for _, e := range r.Events {
		if e.Kind == report.StepStarted {
			began[e.Step] = e.Time
		}
	}
	var out []stepView
	for _, s := range r.Steps {
		v := stepView{
			Name: s.Name, Status: string(s.Status), Tone: tones[string(s.Status)], Seconds: seconds(s), Message: s.Message,
			Activity: r.activity(s.Name),
		}
		if at, known := began[s.Name]; known && r.Elapsed > 0 {
			v.From = percent(at.Sub(r.Began).Seconds() / r.Elapsed.Seconds())
			v.Share = min(percent(s.Seconds/r.Elapsed.Seconds()), 100-v.From)
		}
		out = append(out, v)
	}
	return out
}

func percent(share float64) float64 { return min(max(0, 100*share), 100) }

// activity lists what the parts of a step came to, in the order in which they began.
func (r *Run) activity(step string) []activity {
	var out []activity
	at := map[string]int{}
	var began time.Time
	for _, e := range r.Events {
		switch {
		case e.Step != step:
		case e.Kind == report.StepStarted:
			began = e.Time
		case e.Kind == report.Information:
			out = append(out, activity{since(began, e.Time), "", about(e)})
		case e.Kind == report.Progress:
			i, known := at[e.Object]
			if !known {
				i, at[e.Object] = len(out), len(out)
				out = append(out, activity{})
			}
			out[i] = activity{since(began, e.Time), e.Object, e.Message}
		}
	}
	return out
}

func since(began, at time.Time) string { return "+" + report.Seconds(max(0, at.Sub(began))) }

type testsView struct {
	Summary string
	Failed  []delivery.Test
	Suites  []suiteView
}

type suiteView struct {
	Name, Summary string
	Tests         []delivery.Test
}

// tests shows the tests by suite; the failed ones with what they printed.
func (r *Run) tests() *testsView {
	tested := detail[delivery.Tested](r)
	if tested == nil || len(tested.Tests) == 0 {
		return nil
	}
	v := &testsView{Summary: tested.Summary}
	for _, t := range r.failedTests() {
		v.Failed = append(v.Failed, withinSuite(t))
	}
	counts := map[string]map[string]int{}
	for _, t := range tested.Tests {
		i := slices.IndexFunc(v.Suites, func(s suiteView) bool { return s.Name == t.Suite })
		if i < 0 {
			i = len(v.Suites)
			v.Suites = append(v.Suites, suiteView{Name: t.Suite})
			counts[t.Suite] = map[string]int{}
		}
		counts[t.Suite][t.Status]++
		v.Suites[i].Tests = append(v.Suites[i].Tests, withinSuite(t))
	}
	for i, s := range v.Suites {
		var parts []string
		for _, status := range []string{"passed", "failed", "error", "skipped"} {
			if n := counts[s.Name][status]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, strings.Replace(status, "error", "could not run", 1)))
			}
		}
		v.Suites[i].Summary = strings.Join(parts, ", ")
	}
	return v
}

// withinSuite is a test whose name does not repeat its suite.
func withinSuite(t delivery.Test) delivery.Test {
	t.Name = strings.TrimPrefix(t.Name, t.Suite+": ")
	return t
}

type layersView struct {
	Total  string
	Layers []layerView
}

type layerView struct {
	Digest, Size, CreatedBy string
	Share                   float64 // of the largest, in percent
}

// layers shows what the image is made of, the base first.
func (r *Run) layers() *layersView {
	built := detail[delivery.Built](r)
	if built == nil || len(built.Layers) == 0 {
		return nil
	}
	var total, largest int64
	for _, l := range built.Layers {
		total, largest = total+l.Size, max(largest, l.Size)
	}
	v := &layersView{Total: megabytes(total)}
	for _, l := range built.Layers {
		v.Layers = append(v.Layers, layerView{
			Digest: report.ShortDigest(l.Digest), Size: megabytes(l.Size), CreatedBy: l.CreatedBy,
			Share: percent(float64(l.Size) / float64(max(largest, 1))),
		})
	}
	return v
}

func megabytes(n int64) string {
	if n < 1e5 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// objectView is one object of a rollout with what happened to it and to its pods.
type objectView struct {
	Name        string
	Tone        string
	From, Share float64 // of the rollout's time, in percent
	Moments     []activity
	Parts       []objectView // its pods
}

// Last is the last moment; nil for none.
func (o objectView) Last() *activity {
	if len(o.Moments) == 0 {
		return nil
	}
	return &o.Moments[len(o.Moments)-1]
}

// rolloutStep is the step that brings the image to the cluster.
func (r *Run) rolloutStep() *Step {
	for i, s := range r.Steps {
		switch s.Name {
		case "deploy", "wait", "resume", "abort", "rollback", "promote":
			if s.Status != delivery.Skipped {
				return &r.Steps[i]
			}
		}
	}
	return nil
}

// rollout shows what happened in the cluster, object by object.
func (r *Run) rollout() []objectView {
	step := r.rolloutStep()
	if step == nil {
		return nil
	}
	t := &timeline{span: time.Duration(step.Seconds * float64(time.Second)), at: map[string]*moments{}}
	for _, e := range r.Events {
		if e.Step == step.Name {
			t.add(e)
		}
	}
	failed := map[string]bool{}
	for _, reason := range step.Reasons {
		failed[reason.Object], failed["Pod/"+reason.Pod] = true, true
	}
	var out []objectView
	for _, m := range t.order {
		if m.part == "" {
			out = append(out, t.view(m, failed))
		}
	}
	return out
}

// timeline gathers the moments of objects.
type timeline struct {
	began time.Time
	span  time.Duration
	order []*moments
	at    map[string]*moments
}

type moments struct {
	name, part string // part names the object that it is a part of
	events     []report.Event
}

func (t *timeline) add(e report.Event) {
	switch {
	case e.Kind == report.StepStarted:
		t.began = e.Time
	case e.Object == "" || e.Kind != report.Progress && e.Kind != report.Observation:
	default:
		m := t.of(e.Object)
		m.part = cmp.Or(m.part, e.PartOf)
		if e.PartOf != "" {
			t.of(e.PartOf) // an object that says nothing itself
		}
		m.events = append(m.events, e)
	}
}

func (t *timeline) of(name string) *moments {
	m := t.at[name]
	if m == nil {
		m = &moments{name: name}
		t.at[name], t.order = m, append(t.order, m)
	}
	return m
}

func (t *timeline) view(m *moments, failed map[string]bool) objectView {
	v := objectView{Name: m.name, Tone: "good"}
	last := ""
	var from, to time.Duration
	for i, e := range m.events {
		offset := max(0, e.Time.Sub(t.began))
		if i == 0 {
			from = offset
		}
		if e.Message == last { // each wait of a step says it
			continue
		}
		to, last = max(to, offset), e.Message
		v.Moments = append(v.Moments, activity{since(t.began, e.Time), "", e.Message})
	}
	for _, part := range t.order {
		if part.part != m.name {
			continue
		}
		child := t.view(part, failed)
		v.Parts = append(v.Parts, child)
	}
	switch {
	case failed[m.name]:
		v.Tone = "bad"
	case strings.HasPrefix(last, "terminating"):
		v.Tone = ""
	}
	if t.span > 0 {
		v.From = percent(float64(from) / float64(t.span))
		v.Share = min(max(percent(float64(to-from)/float64(t.span)), 1), 100-v.From)
	}
	return v
}

type change struct{ Where, From, To string }

type diffLine struct{ Class, Text string }

// addChanges shows what was changed: references in git, or objects in the cluster.
func (r *Run) addChanges(v *view) {
	if bumped := detail[delivery.Bumped](r); bumped != nil {
		for _, c := range bumped.Changes {
			v.Changes = append(v.Changes, change{fmt.Sprintf("%s:%d", c.File, c.Line), c.From, c.To})
		}
	}
	deployed := detail[delivery.Deployed](r)
	if deployed == nil {
		return
	}
	v.Objects = slices.Clone(deployed.Objects)
	for line := range strings.Lines(deployed.Diff) {
		line = strings.TrimRight(line, "\n")
		class := ""
		switch {
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
			class = "file"
		case strings.HasPrefix(line, "@@"):
			class = "hunk"
		case strings.HasPrefix(line, "+"):
			class = "added"
		case strings.HasPrefix(line, "-"):
			class = "gone"
		}
		v.Diff = append(v.Diff, diffLine{class, line})
	}
}

// logs are what ran inside of the steps wrote; those of a step that failed are open.
func (r *Run) logs() []logView {
	status := map[string]delivery.Status{}
	for _, s := range r.Steps {
		status[s.Name] = s.Status
	}
	var out []logView
	var lines [][]string
	at := map[[2]string]int{}
	for _, e := range r.Events {
		if e.Kind != report.Log {
			continue
		}
		key := [2]string{e.Step, e.Object}
		i, known := at[key]
		if !known {
			i, at[key] = len(out), len(out)
			title := strings.TrimPrefix(strings.TrimSuffix(e.Step+": "+e.Object, ": "), ": ")
			out, lines = append(out, logView{Title: title, Open: status[e.Step] == delivery.Failed}), append(lines, nil)
		}
		lines[i] = append(lines[i], e.Message+"\n")
	}
	for i := range out {
		out[i].Text = strings.Join(lines[i], "")
	}
	return out
}
