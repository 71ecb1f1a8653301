package report

import (
	"slices"
	"sync"
)

// mostRecorded bounds the events that a Recorder keeps of one kind about one object of a step: the newest count.
const mostRecorded = 400

// Recorder keeps the events of a run for what is written after it, and passes each of them on.
type Recorder struct {
	next Sink

	mu     sync.Mutex
	events []Event
	counts map[recordKey]int
}

type recordKey struct {
	kind         Kind
	step, object string
}

func keyOf(e Event) recordKey { return recordKey{e.Kind, e.Step, e.Object} }

// NewRecorder returns a Recorder that passes events on to next.
func NewRecorder(next Sink) *Recorder {
	return &Recorder{next: next, counts: map[recordKey]int{}}
}

// Event implements Sink.
func (r *Recorder) Event(e Event) {
	if e.Kind == AppOutput {
		r.next.Event(e)
		return
	}
	r.mu.Lock()
	r.events = append(r.events, e)
	key := keyOf(e)
	r.counts[key]++
	if r.counts[key] >= 2*mostRecorded {
		r.dropOldest(key)
	}
	r.mu.Unlock()
	r.next.Event(e)
}

// dropOldest removes events of one key until mostRecorded are left.
func (r *Recorder) dropOldest(key recordKey) {
	r.events = slices.DeleteFunc(r.events, func(e Event) bool {
		drop := r.counts[key] > mostRecorded && keyOf(e) == key
		if drop {
			r.counts[key]--
		}
		return drop
	})
}

// Events returns what was recorded so far, in its order.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}
