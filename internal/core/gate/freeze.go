package gate

import (
	"cmp"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // containers of CI systems have no time zones

	"github.com/bmatcuk/doublestar/v4"
	"github.com/robfig/cron/v3"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Problem is a mistake in gates. Path leads to it from the gates.
type Problem struct {
	Path []any
	Err  error
}

// Validate returns what is wrong with the gates.
func (g Gates) Validate() []Problem {
	var found []Problem
	problem := func(err error, path ...any) {
		if err != nil {
			found = append(found, Problem{path, err})
		}
	}
	if g.Soak < 0 {
		problem(fmt.Errorf("%s: want a time such as 30m", report.Span(g.Soak)), "soak")
	}
	at := func(key string) func(error, ...any) {
		return func(err error, path ...any) { problem(err, append([]any{key}, path...)...) }
	}
	if g.Approve != nil {
		g.Approve.validate(at("approve"))
	}
	if g.Override != nil {
		validateBy(g.Override.By, at("override"), "by")
		if g.Soak == 0 && len(g.Freeze) == 0 && g.Approve == nil {
			problem(errors.New("there is no gate that it opens: add soak, freeze or approve"), "override")
		}
	}
	for i, w := range g.Freeze {
		problem(w.validate(), "freeze", i)
		for j, p := range w.Except {
			if !doublestar.ValidatePattern(p) {
				problem(fmt.Errorf("%q is no pattern: quote it and check its brackets", p), "freeze", i, "except", j)
			}
		}
	}
	return found
}

func (f Freeze) validate() error {
	zone, err := time.LoadLocation(f.TimeZone)
	if err != nil || f.TimeZone == "Local" {
		return fmt.Errorf("timeZone %q is not known: want a name such as Europe/Berlin", f.TimeZone)
	}
	switch {
	case (f.Schedule == "") == (f.From == ""):
		return errors.New("want either schedule and duration, or from and to")
	case f.Schedule != "":
		if _, err := cron.ParseStandard(f.Schedule); err != nil {
			return fmt.Errorf("schedule %q: want minute, hour, day of month, month and day of week, such as 0 15 * * FRI: %w", f.Schedule, err)
		}
		if f.Duration <= 0 || f.To != "" {
			return errors.New("want schedule with duration, such as 63h")
		}
		return nil
	case f.Duration != 0:
		return errors.New("want from with to: duration belongs to schedule")
	}
	from, err := parseMoment(f.From, zone, false)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	to, err := parseMoment(f.To, zone, true)
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	if !from.Before(to) {
		return fmt.Errorf("to %q is not after from %q", f.To, f.From)
	}
	return nil
}

// parseMoment reads a minute, or a day: its beginning, or as the last one its end.
func parseMoment(s string, zone *time.Location, last bool) (time.Time, error) {
	if t, err := time.ParseInLocation("2006-01-02 15:04", s, zone); err == nil {
		return t, nil
	}
	day, err := time.ParseInLocation(time.DateOnly, s, zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q: want a day, 2026-12-20, or a minute, 2026-12-20 18:00", s)
	}
	if last {
		day = day.AddDate(0, 0, 1)
	}
	return day, nil
}

// end returns when the window ends that is on at a time; a time that is not after it when none is.
func (f Freeze) end(at time.Time) time.Time {
	zone, err := time.LoadLocation(cmp.Or(f.TimeZone, "UTC"))
	if err != nil {
		return time.Time{}
	}
	if f.Schedule == "" {
		from, failed := parseMoment(f.From, zone, false)
		to, err := parseMoment(f.To, zone, true)
		if failed != nil || err != nil || at.Before(from) {
			return time.Time{}
		}
		return to
	}
	schedule, err := cron.ParseStandard(f.Schedule)
	if err != nil {
		return time.Time{}
	}
	// The last time before now that is named ends last.
	var end time.Time
	for begin := schedule.Next(at.In(zone).Add(-f.Duration)); !begin.IsZero() && !begin.After(at); begin = schedule.Next(begin) {
		end = begin.Add(f.Duration)
	}
	return end
}
