package watch

import (
	"time"

	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// Observation is what one look found out about one object.
type Observation struct {
	Ref    plan.Ref
	Status status.Status
}

// Verdict is an Observation after its problems were judged.
type Verdict struct {
	Observation
	// Failed reports that the object cannot become ready, because of Problem.
	Failed bool
	// Problem is the one that decided if Failed is set, else the first one. It is the zero Problem when there is none.
	Problem status.Problem
	// Remaining is the time until the next grace of the object ends; 0 when none is running.
	Remaining time.Duration
}

// clock names what a Judge keeps a start time of. A problem in another pod is another problem: the pod that failed its
// first probe just now must not be judged by the clock of a pod that has been failing for a minute.
type clock struct {
	ref          plan.Ref
	pod, problem string
}

// Judge decides which problems count, from one look at all objects of a release to the next. It is the same for every
// target, and knows no network. The zero Judge is ready to use.
type Judge struct {
	began map[clock]time.Time
}

// Look judges all objects together, in the order of the release. A problem that this look does not find is forgotten, so
// that it gets its whole grace if it comes back.
//
// The grace of a container that may be waiting for another workload (Problem.Depends) begins when no other object is on
// its way.
func (j *Judge) Look(now time.Time, observations []Observation) []Verdict {
	next := map[clock]time.Time{}
	verdicts := make([]Verdict, 0, len(observations))
	for i, o := range observations {
		pending := othersPending(observations, i)
		v := Verdict{Observation: o}
		forgiven := len(o.Status.Problems) > 0
		if forgiven {
			v.Problem = o.Status.Problems[0]
		}
		for _, p := range o.Status.Problems {
			key := clock{o.Ref, p.Pod, p.Key()}
			began, known := j.began[key]
			if !known || p.Depends && pending {
				began = now
			}
			next[key] = began
			left := p.Grace - now.Sub(began)
			forgiven = forgiven && p.Heals == status.Forgiven && left <= 0
			counts := p.Heals == status.Never || p.Heals == status.Perhaps && left <= 0
			if counts && !v.Failed {
				v.Failed, v.Problem = true, p
			}
			if waits := p.Heals == status.Perhaps || p.Heals == status.Forgiven; waits && left > 0 && (v.Remaining == 0 || left < v.Remaining) {
				v.Remaining = left
			}
		}
		if forgiven {
			v.Status = status.Status{Ready: true, Message: o.Status.Problems[0].Message}
		}
		verdicts = append(verdicts, v)
	}
	j.began = next
	return verdicts
}

// othersPending reports whether an object other than the one at index except is on its way to being ready: an app whose
// database starts beside it is not ready before the database is. Of two objects with problems the later one waits for the
// earlier one, so that they do not wait for each other.
func othersPending(observations []Observation, except int) bool {
	for i, o := range observations {
		if i == except || o.Status.Ready {
			continue
		}
		switch plan.StageOf(o.Ref.GroupKind()) {
		case plan.Services, plan.Rest: // no container waits for an address
			continue
		}
		if i < except || len(o.Status.Problems) == 0 {
			return true
		}
	}
	return false
}

// Ready reports whether all objects are ready.
func Ready(verdicts []Verdict) bool {
	for _, v := range verdicts {
		if !v.Status.Ready {
			return false
		}
	}
	return true
}

// Remaining is the time until the next grace of an object that is not ready ends; 0 when none is running.
func Remaining(verdicts []Verdict) time.Duration {
	var next time.Duration
	for _, v := range verdicts {
		if !v.Status.Ready && v.Remaining > 0 && (next == 0 || v.Remaining < next) {
			next = v.Remaining
		}
	}
	return next
}

// Graces returns the same grace for every kind of problem, or each kind's default if grace is 0.
func Graces(grace time.Duration) status.Graces {
	if grace == 0 {
		return status.DefaultGraces
	}
	return status.AllGraces(grace)
}
