package page

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

//go:embed page.html page.css
var files embed.FS

// HTML writes the run as one file that needs nothing beside it.
func (r *Run) HTML(w io.Writer) error {
	style, err := files.ReadFile("page.css")
	if err != nil {
		return err
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{
		"count": report.Count,
		"style": func() template.CSS { return template.CSS(style) },
	}).ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	v := r.view()
	r.clean(reflect.ValueOf(&v))
	return t.Execute(w, v)
}

// view is what the template shows.
type view struct {
	Tone, Mark, Title string
	Subtitle          string
	Links             []link
	Reasons           []delivery.Reason
	MoreReasons       int    // that are not among Reasons
	Error             string // of a failure, as the terminal shows it
	Facts             []fact
	Proofs            []Proof
	Warnings          []string
	Steps             []stepView
	Tests             *testsView
	Layers            *layersView
	Rollout           []objectView
	RolloutSpan       string // how long the rollout took
	Changes           []change
	Diff              []diffLine
	Objects           []delivery.Object
	Logs              []logView
	Footer            string
}

type link struct{ Text, URL string }

// fact is a line of what is known about the run. Code means a value that is copied.
type fact struct {
	Name, Value string
	Code        bool
}

type stepView struct {
	Name, Status, Tone, Seconds, Message string
	From, Share                          float64 // of the run's time, in percent
	Activity                             []activity
}

// activity is what one part of a step came to.
type activity struct{ At, Object, Message string }

// logView is the output of one thing in a step.
type logView struct {
	Title string
	Open  bool
	Text  string
}

func (r *Run) view() view {
	v := view{
		Tone: r.tone(), Mark: r.mark(), Title: r.Title(), Subtitle: r.subtitle(), Facts: r.facts(), Proofs: slices.Clone(r.Proofs), Steps: r.steps(),
		Tests: r.tests(), Layers: r.layers(), Rollout: r.rollout(), Logs: r.logs(),
		Footer: "aksflow " + r.Verb + ", " + r.Began.Format(time.RFC1123Z),
	}
	if v.Mark == "" {
		v.Mark = "•"
	}
	for _, l := range []link{{"Pull request", r.PullRequest}, {"CI run", r.RunURL}} {
		if strings.HasPrefix(l.URL, "https://") || strings.HasPrefix(l.URL, "http://") {
			v.Links = append(v.Links, l)
		}
	}
	if r.Err != nil {
		v.Error = r.Err.Error()
	}
	for _, s := range r.Steps {
		for _, reason := range s.Reasons {
			reason.Logs = slices.Clone(reason.Logs)
			v.Reasons = append(v.Reasons, reason)
		}
	}
	if left := len(v.Reasons) - mostTests; left > 0 { // the tests themselves are all listed
		v.Reasons, v.MoreReasons = v.Reasons[:mostTests], left
	}
	if step := r.rolloutStep(); step != nil {
		v.RolloutSpan = report.Seconds(time.Duration(step.Seconds * float64(time.Second)))
	}
	for _, e := range r.Events {
		if e.Kind == report.Warning {
			v.Warnings = append(v.Warnings, about(e))
		}
	}
	r.addChanges(&v)
	return v
}

// subtitle is what was delivered, and how long that took.
func (r *Run) subtitle() string {
	out := r.App
	if r.Version != "" {
		out += " " + r.Version
	}
	return out + " · " + r.Began.Format("2006-01-02 15:04 MST") + " · " + report.Seconds(r.Elapsed)
}

func (r *Run) facts() []fact {
	var facts []fact
	add := func(name, value string, code bool) {
		if value != "" {
			facts = append(facts, fact{name, value, code})
		}
	}
	add("Environment", r.Environment, false)
	add("Why", r.Reason, false)
	add("Image", r.Image, true)
	if built := detail[delivery.Built](r); built != nil && r.Image == "" {
		add("Image built", built.Digest, true)
	}
	add("Source", r.Source.Revision(), true)
	add("Commit that the operator follows", r.Commit, true)
	if r.Revision > 0 {
		add("Revision in the cluster", strconv.Itoa(r.Revision), false)
	}
	add("Tags", strings.Join(r.Tags, ", "), true)
	add("By", r.User, false)
	if promoted := detail[delivery.Promoted](r); promoted != nil {
		add("Promoted from", fmt.Sprintf("%s: %s", promoted.From, promoted.Proof), false)
		for _, row := range promoted.GateRows() {
			add(row[0], row[1], false)
		}
	}
	return facts
}

// about joins an event's object and message.
func about(e report.Event) string {
	if e.Object == "" {
		return e.Message
	}
	return e.Object + ": " + e.Message
}
