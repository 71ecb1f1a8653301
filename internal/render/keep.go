package render

import (
	"context"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
)

// stable renders a chart so that random values stay: a password, a certificate or a random annotation that the cluster has
// is rendered again, and a deploy of the same chart changes nothing.
//
// The templates run twice with different random values. Where the objects differ, the field holds a random value, and the
// text around it is known, so that the live object tells which value its call returned before. The templates then run with
// these values: what a chart derives from them (a checksum, a connection string) comes out as before, or follows a change
// of the chart. A live value counts only when the call could have returned it, see couldReturn.
//
// A value that is in no field itself is usually a repetition: a chart includes the template of its Secret to hash it, and
// the random functions run once more. Such a call returns what the call that it repeats returns, so that the hash is the
// one of the Secret. Where there is no such call either, the fields that depend on the value keep their live value.
func (c *chart) stable(ctx context.Context) ([]*unstructured.Unstructured, error) {
	now := time.Now()
	one := newSequence(now)
	first, err := c.render(ctx, one)
	if err != nil || c.cluster == nil || len(one.calls) == 0 && !one.clock {
		return first, err
	}
	a, err := c.analyze(ctx, one, first)
	if err != nil {
		return nil, err
	}
	run, objects := one, first
	if len(a.known)+len(a.twins) > 0 {
		if run, objects, err = c.again(ctx, now, a); err != nil {
			return nil, err
		}
	}
	if len(a.hidden) > 0 {
		if err := c.keepLive(ctx, objects, run, a.hidden); err != nil {
			return nil, err
		}
	}
	if run.clock {
		c.warnClock(ctx, run, objects)
	}
	return objects, nil
}

// analysis is what two runs tell about the random calls, by their places.
type analysis struct {
	known  map[int]call // what they returned when the live objects were rendered
	twins  map[int]int  // those that are in no field, and the ones that they repeat
	hidden []int        // those that are in no field, and repeat none
}

// analyze runs the templates a second time and compares the objects.
func (c *chart) analyze(ctx context.Context, one *sequence, first []*unstructured.Unstructured) (a analysis, err error) {
	two := newSequence(one.now)
	two.other = one.calls
	second, err := c.render(ctx, two)
	if err != nil {
		return a, err
	}
	fields, err := c.randomFields(ctx, first, second)
	if err != nil {
		return a, err
	}
	a.known, a.twins = map[int]call{}, map[int]int{}
	visible, repeated := map[string][]int{}, map[string][]int{}
	for place, before := range one.calls {
		if place >= len(two.calls) || two.calls[place].name != before.name {
			break // the random values decide which calls there are
		}
		texts := make([]string, len(before.texts))
		anywhere := false
		for i := range texts {
			text, found := recovered(fields, before.texts[i], two.calls[place].texts[i])
			texts[i], anywhere = text, anywhere || found
		}
		if texts[0] != "" {
			a.known[place] = call{name: before.name, texts: texts}
		}
		same := visible
		if !anywhere {
			same = repeated
		}
		same[before.name+before.args] = append(same[before.name+before.args], place)
	}
	for key, places := range repeated {
		for i, place := range places {
			if origins := visible[key]; len(origins) > 0 {
				a.twins[place] = origins[i%len(origins)]
			} else {
				a.hidden = append(a.hidden, place)
			}
		}
	}
	return a, nil
}

// again renders with known values. An authority whose key nobody knows can sign nothing, so it is made anew when it has to.
func (c *chart) again(ctx context.Context, now time.Time, a analysis) (*sequence, []*unstructured.Unstructured, error) {
	for {
		run := newSequence(now)
		run.known, run.twins = a.known, a.twins
		objects, err := c.render(ctx, run)
		if err != nil && run.forget >= 0 {
			delete(a.known, run.forget)
			continue
		}
		return run, objects, err
	}
}

// keepLive gives the fields that depend on hidden calls their live value.
func (c *chart) keepLive(ctx context.Context, objects []*unstructured.Unstructured, run *sequence, hidden []int) error {
	other := run.repeat(run.now)
	other.other = run.calls
	for _, place := range hidden {
		delete(other.known, place)
	}
	again, err := c.render(ctx, other)
	if err != nil {
		return err
	}
	fields, err := c.randomFields(ctx, objects, again)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if f.raw != nil {
			f.set(f.raw)
		}
	}
	return nil
}

// warnClock names the fields that the chart takes from the clock: each deploy changes them.
func (c *chart) warnClock(ctx context.Context, run *sequence, objects []*unstructured.Unstructured) {
	other, err := c.render(ctx, run.repeat(run.now.Add(400*24*time.Hour+time.Hour+time.Minute+time.Second)))
	if err != nil {
		return // a certificate that has expired by then, say; this run has worked
	}
	fields, err := c.randomFields(ctx, objects, other)
	if err != nil {
		return
	}
	for _, f := range fields {
		if f.raw == nil {
			continue
		}
		report.Warn(ctx, "%s takes %s from the clock, so that each deploy changes it", f.object, f.path)
	}
}

// field is a text in a rendered object that is another one in another run.
type field struct {
	object, path        string // "Secret/db", "data.password"
	secret              bool
	first, second, live string // Secrets: decoded
	raw                 any    // the live value as it is set; nil when there is none
	set                 func(any)
}

// randomFields compares the objects of two runs and reads the live objects of those that differ. Objects whose names are
// random have no live counterpart.
func (c *chart) randomFields(ctx context.Context, first, second []*unstructured.Unstructured) ([]field, error) {
	var fields []field
	if len(first) != len(second) {
		return nil, nil
	}
	for i, o := range first {
		if reflect.DeepEqual(o.Object, second[i].Object) || o.GetName() != second[i].GetName() || o.GetKind() != second[i].GetKind() {
			continue
		}
		namespace := o.GetNamespace()
		if namespace == "" {
			namespace = c.release.Namespace
		}
		live, err := c.cluster.Lookup(ctx, o.GetAPIVersion(), o.GetKind(), namespace, o.GetName())
		if err != nil {
			return nil, err
		}
		f := field{object: o.GetKind() + "/" + o.GetName(), secret: o.GetKind() == "Secret" && o.GetAPIVersion() == "v1"}
		if f.secret {
			fields = append(fields, f.ofSecret(o.Object, second[i].Object, live)...)
		}
		fields = append(fields, f.compare(o.Object, second[i].Object, live, nil)...)
	}
	return fields, nil
}

// ofSecret returns the values of a Secret that differ. The live Secret has those of stringData in data.
func (f field) ofSecret(first, second, live map[string]any) []field {
	var fields []field
	has, _ := live["data"].(map[string]any)
	for _, part := range []string{"data", "stringData"} {
		one, _ := first[part].(map[string]any)
		two, _ := second[part].(map[string]any)
		for key := range one {
			if reflect.DeepEqual(one[key], two[key]) {
				continue
			}
			f := f
			f.path = part + "." + key
			f.first, f.second = fmt.Sprint(one[key]), fmt.Sprint(two[key])
			encoded, ok := has[key].(string)
			if ok {
				f.live, f.raw = decoded(encoded), decoded(encoded)
			}
			if part == "data" {
				f.first, f.second = decoded(f.first), decoded(f.second)
				if ok {
					f.raw = encoded
				}
			}
			f.set = func(value any) { one[key] = value }
			fields = append(fields, f)
		}
	}
	return fields
}

func decoded(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return text
	}
	return string(raw)
}

// compare returns the scalars below two values that differ. Items of lists are found by their name, else by their index.
func (f field) compare(first, second, live any, path []string) []field {
	var fields []field
	switch one := first.(type) {
	case map[string]any:
		two, _ := second.(map[string]any)
		now, _ := live.(map[string]any)
		for key := range one {
			if f.secret && len(path) == 0 && (key == "data" || key == "stringData") {
				continue
			}
			set := func(value any) { one[key] = value }
			fields = append(fields, f.below(one[key], two[key], now[key], append(slices.Clone(path), key), set)...)
		}
	case []any:
		two, _ := second.([]any)
		now, _ := live.([]any)
		if len(one) != len(two) {
			return nil
		}
		for i := range one {
			item := counterpart(one[i], now, i)
			set := func(value any) { one[i] = value }
			fields = append(fields, f.below(one[i], two[i], item, append(slices.Clone(path), fmt.Sprint(i)), set)...)
		}
	}
	return fields
}

func (f field) below(first, second, live any, path []string, set func(any)) []field {
	switch first.(type) {
	case map[string]any, []any:
		return f.compare(first, second, live, path)
	}
	if reflect.DeepEqual(first, second) {
		return nil
	}
	f.path, f.set = dotted(path), set
	f.first, f.second = fmt.Sprint(first), fmt.Sprint(second)
	switch live.(type) {
	case nil, map[string]any, []any:
	default:
		f.live, f.raw = fmt.Sprint(live), live
	}
	return []field{f}
}

// counterpart returns the item of a live list that belongs to an item of a rendered one.
func counterpart(item any, live []any, index int) any {
	if mapping, ok := item.(map[string]any); ok && mapping["name"] != nil {
		for _, candidate := range live {
			if other, ok := candidate.(map[string]any); ok && other["name"] == mapping["name"] {
				return other
			}
		}
		return nil
	}
	if index < len(live) {
		return live[index]
	}
	return nil
}

// recovered returns the text that a call returned when the live objects were rendered, or "". first and second are what it
// returned in the two runs; found reports that a field holds them. A Secret's value counts before other fields, and a whole
// value before a part of one.
func recovered(fields []field, first, second string) (text string, found bool) {
	rank := 0
	for _, f := range fields {
		for _, form := range forms {
			before, after, ok := f.around(form.write(first), form.write(second))
			if !ok {
				continue
			}
			found = true
			score := 1
			if before+after == "" {
				score += 2
			}
			if f.secret {
				score++
			}
			live, begins := strings.CutPrefix(f.live, before)
			live, ends := strings.CutSuffix(live, after)
			if begins && ends && live != "" && score > rank {
				text, rank = form.read(live), score
			}
		}
	}
	return text, found
}

// form is a way in which a chart writes a text.
type form struct{ write, read func(string) string }

func same(text string) string { return text }

var forms = []form{
	{same, same},
	{func(text string) string { return strings.TrimSuffix(text, "\n") }, func(text string) string { return text + "\n" }}, // PEM without its last line's end
	{func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }, decoded},
	{strings.ToLower, same},
	{strings.ToUpper, same},
}

// around returns what stands before and after first in the field, when that is the only difference between the two runs.
func (f field) around(first, second string) (before, after string, ok bool) {
	if first == "" || first == second {
		return "", "", false
	}
	for start := 0; ; start++ {
		at := strings.Index(f.first[start:], first)
		if at < 0 {
			return "", "", false
		}
		start += at
		before, after = f.first[:start], f.first[start+len(first):]
		if f.second == before+second+after {
			return before, after, true
		}
	}
}
