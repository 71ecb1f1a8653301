package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Judge decides, from one look at the objects of a release to the next, which are ready, which may still become so, and
// which have failed, and why. It remembers since when each problem is known; its times come from its caller.
type Judge struct {
	memory map[string]*memory
}

// NewJudge returns a Judge that has seen nothing yet.
func NewJudge() *Judge { return &Judge{memory: map[string]*memory{}} }

// Look is what one look shows of an object.
type Look struct {
	// ID tells the objects of a release apart.
	ID     string
	Kind   schema.GroupKind
	Status Status
}

// Verdict is what a Judge thinks of an object.
type Verdict struct {
	Ready bool
	// Message says what the object waits for, what it failed of, or how it is ready.
	Message string
	// Problem is the reason that the Message is about; nil when there is none. If Failed is set, it is the one that decided.
	Problem *Problem
	// Failed reports whether the object cannot become ready any more.
	Failed bool
	// Lasted is how long the Problem has been seen.
	Lasted time.Duration
	// Next is after how long the verdict may be another one though nothing changes; 0 when only a change can do that.
	Next time.Duration
}

// memory is what a Judge knows of one object.
type memory struct {
	progress   int
	progressAt time.Time
	problems   map[string]*course // by pod and key
}

// course is how one problem went on.
type course struct {
	key      string
	known    time.Time // when it was first seen
	first    time.Time // when its grace began
	progress int       // of the object, when it was first seen
	heldAt   time.Time // when something that may heal it was last seen; zero for never
	attempt  int       // at heldAt
	waits    bool      // for other objects, at the last look
	gone     bool      // it was not there at the last look
}

// heldMemory is how long a problem that was held is remembered when it is gone. A container without a readiness probe is
// ready between two crashes.
const heldMemory = 10 * time.Minute

// Look returns a verdict on each object. It is called after each change, and at the latest when a Verdict's Next has passed.
func (j *Judge) Look(now time.Time, looks []Look) []Verdict {
	stuck := make([]bool, len(looks))
	for i, look := range looks {
		j.note(now, look)
		stuck[i] = j.memory[look.ID].stuck(now, look.Status)
	}
	verdicts := make([]Verdict, len(looks))
	for i, look := range looks {
		others := allReady
		for k, other := range looks {
			switch {
			case k == i || other.Status.Ready || !HoldsOthers(other.Kind):
			case !stuck[k]:
				others = onTheirWay
			case others == allReady:
				others = failing
			}
		}
		verdicts[i] = j.memory[look.ID].verdict(now, look.Status, others)
	}
	return verdicts
}

// company says how the other objects of a release are.
type company int

const (
	allReady   company = iota
	failing            // some are not ready, and none of them can be without help
	onTheirWay         // some may still become ready
)

// stuck reports whether an object cannot become ready by itself: it holds nobody, lest two wait for each other.
func (m *memory) stuck(now time.Time, s Status) bool {
	if len(s.Problems) == 0 {
		return !s.Ready && now.Sub(m.progressAt) >= s.limit()
	}
	return slices.ContainsFunc(s.Problems, func(p Problem) bool { return p.Heals != Forgiven && m.alone(now, s, p) <= 0 })
}

// alone is how long until a problem is final if nothing but its own object counts.
func (m *memory) alone(now time.Time, s Status, p Problem) time.Duration {
	switch p.Heals {
	case Never:
		return 0
	case Expected:
		return p.limit(s) - now.Sub(m.progressAt)
	}
	return p.Grace - now.Sub(m.course(p).known)
}

func (m *memory) course(p Problem) *course { return m.problems[p.Pod+"\x00"+p.Key()] }

// note brings the memory of an object up to date: problems that are gone are forgotten, so that one that comes back gets
// its grace anew. The pod that replaces another one inherits how long the problem has been there, unless the object made
// progress in between: the grace is counted once.
func (j *Judge) note(now time.Time, look Look) {
	m := j.memory[look.ID]
	if m == nil {
		m = &memory{progressAt: now, progress: look.Status.Progress}
		j.memory[look.ID] = m
	}
	if look.Status.Progress > m.progress || look.Status.Ready {
		m.progress, m.progressAt = max(m.progress, look.Status.Progress), now
	}
	problems := make(map[string]*course, len(look.Status.Problems))
	for _, p := range look.Status.Problems {
		id := p.Pod + "\x00" + p.Key()
		c := m.problems[id]
		if c == nil {
			c = &course{key: p.Key(), known: now, first: now, progress: m.progress}
			if p.Stale {
				c.heldAt, c.attempt = now, p.Attempt
			}
			for old, was := range m.problems {
				gone := !slices.ContainsFunc(look.Status.Problems, func(q Problem) bool { return q.Pod+"\x00"+q.Key() == old })
				if gone && !was.gone && was.key == c.key && was.progress == m.progress && was.first.Before(c.first) {
					c.known, c.first = was.known, was.first
				}
			}
		}
		if c.gone {
			c.known, c.first, c.gone = now, now, false
		}
		problems[id] = c
	}
	for id, c := range m.problems {
		if problems[id] == nil && !c.heldAt.IsZero() && now.Sub(c.heldAt) < heldMemory {
			c.gone = true
			problems[id] = c
		}
	}
	m.problems = problems
}

// left returns how long until a problem is final, by itself: 0 or less when it is. Red is false when its end is not a
// failure.
func (m *memory) left(now time.Time, s Status, p Problem) (left time.Duration, red bool) {
	c := m.course(p)
	switch p.Heals {
	case Never:
		if c.heldAt.IsZero() || p.Attempt > c.attempt {
			return 0, true
		}
		return p.Retry - now.Sub(c.heldAt), true
	case Expected:
		return p.limit(s) - now.Sub(m.progressAt), true
	case Forgiven:
		return p.Grace - now.Sub(c.first), false
	}
	left = p.Grace - now.Sub(c.first)
	if !c.heldAt.IsZero() {
		left = max(left, p.Retry-now.Sub(c.heldAt))
	}
	return left, true
}

// limit is how long an object may be without progress while something is at work on a problem.
func (p Problem) limit(s Status) time.Duration {
	if p.Grace > 0 {
		return p.Grace
	}
	return s.limit()
}

func (s Status) limit() time.Duration {
	if s.Limit > 0 {
		return s.Limit
	}
	return DefaultLimit
}

// verdict decides about one object.
func (m *memory) verdict(now time.Time, s Status, others company) Verdict {
	if s.Ready {
		return Verdict{Ready: true, Message: s.Message}
	}
	v := Verdict{Message: s.Message}
	forgiven := len(s.Problems) > 0
	for i := range s.Problems {
		p := &s.Problems[i]
		if m.holds(now, *p, others) {
			forgiven = false
			if alone := m.alone(now, s, *p); alone > 0 {
				v.next(alone)
			}
			continue
		}
		left, red := m.left(now, s, *p)
		forgiven = forgiven && !red && left <= 0
		switch {
		case left > 0:
			v.next(left)
		case red && !v.Failed:
			v.Failed, v.Problem = true, p
		}
	}
	if forgiven {
		return Verdict{Ready: true, Message: s.Problems[0].Message}
	}
	if v.Problem == nil && len(s.Problems) > 0 {
		v.Problem = &s.Problems[0]
	}
	if len(s.Problems) == 0 {
		m.idle(now, s, &v)
	}
	if v.Problem != nil {
		if v.Failed && v.Problem.Heals == Expected {
			p := *v.Problem
			p.Message += fmt.Sprintf(" (no progress for %s)", report.Span(now.Sub(m.progressAt).Round(time.Second)))
			v.Problem = &p
		}
		v.Message = strings.TrimPrefix(v.Message+": ", ": ") + v.Problem.Message
		v.Lasted = now.Sub(m.course(*v.Problem).known)
	}
	return v
}

// holds reports whether a problem waits for other objects. When they are ready, its grace begins; when they fail, nothing
// heals it any more.
func (m *memory) holds(now time.Time, p Problem, others company) bool {
	c := m.course(p)
	waits := p.Depends && others == onTheirWay
	if waits || p.Heals == Expected {
		c.heldAt, c.attempt = now, p.Attempt
	}
	if c.waits && !waits {
		if others == allReady {
			c.first, m.progressAt = now, now
		} else {
			c.heldAt = time.Time{}
		}
	}
	c.waits = waits
	return waits
}

// idle judges an object that is not ready and has no problem: it may take as long as its limit without any progress.
func (m *memory) idle(now time.Time, s Status, v *Verdict) {
	left := s.limit() - now.Sub(m.progressAt)
	if left > 0 {
		v.next(left)
		return
	}
	v.Failed = true
	v.Message = fmt.Sprintf("no progress for %s: %s", report.Span(s.limit()), s.Message)
}

// next keeps the earliest time.
func (v *Verdict) next(left time.Duration) {
	if v.Next == 0 || left < v.Next {
		v.Next = left
	}
}
