package report_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/report"
)

func TestRecorder(t *testing.T) {
	passed := 0
	r := report.NewRecorder(report.SinkFunc(func(report.Event) { passed++ }))
	r.Event(report.Event{Kind: report.StepStarted, Step: "build"})
	const chatty = 5000
	for i := range chatty {
		r.Event(report.Event{Kind: report.Log, Step: "build", Object: "make", Message: fmt.Sprint(i)})
	}
	r.Event(report.Event{Kind: report.Log, Step: "build", Object: "test", Message: "ok"})

	events := r.Events()
	assert.Equal(t, chatty+2, passed, "all events are passed on")
	assert.Less(t, len(events), 1000, "and a bounded number is kept of one chatty command")
	assert.Equal(t, report.StepStarted, events[0].Kind)
	assert.Equal(t, "ok", events[len(events)-1].Message)
	assert.Equal(t, fmt.Sprint(chatty-1), events[len(events)-2].Message, "the newest")
}
