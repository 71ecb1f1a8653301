package delivery_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

func TestReasons(t *testing.T) {
	crash := []delivery.Reason{{Object: "Deployment/web", Reason: "CrashLoopBackOff", Message: "it crashed"}}
	known := delivery.WithReasons(errors.New("Deployment/web: it crashed"), crash)
	plain := errors.New("cannot restore: the API server is gone")

	assert.Nil(t, delivery.Reasons(nil))
	assert.NoError(t, delivery.WithReasons(nil, crash))
	assert.Equal(t, plain, delivery.WithReasons(plain, nil), "an error without causes stays as it is")
	assert.EqualError(t, known, "Deployment/web: it crashed")
	assert.Equal(t, []delivery.Reason{{Message: plain.Error()}}, delivery.Reasons(plain))
	assert.Equal(t, crash, delivery.Reasons(fmt.Errorf("deploy: %w", known)))
	assert.Equal(t, append(crash, delivery.Reason{Message: plain.Error()}),
		delivery.Reasons(fmt.Errorf("deploy: %w", errors.Join(known, plain))), "what was joined is not lost")
}

func TestRevisionSaysDirty(t *testing.T) {
	assert.Equal(t, "abc", delivery.Source{Commit: "abc"}.Revision())
	assert.Equal(t, "abc-dirty", delivery.Source{Commit: "abc", Dirty: true}.Revision())
	assert.Empty(t, delivery.Source{Dirty: true}.Revision(), "outside of git there is no revision")
}
