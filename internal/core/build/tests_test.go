package build

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestValidate(t *testing.T) {
	suite := &Suite{Target: "test"}
	redis := Service{Name: "redis", Image: "redis:8"}
	tests := map[string]struct {
		tests Tests
		err   string
	}{
		"unit tests alone":           {tests: Tests{Unit: suite}},
		"everything":                 {tests: Tests{Unit: suite, Integration: suite, Services: []Service{redis}, App: Service{Env: map[string]string{"REDIS": "redis"}}}},
		"nothing":                    {err: "there is nothing to test"},
		"no stage":                   {tests: Tests{Integration: &Suite{}}, err: "the integration tests name no stage"},
		"app with an image":          {tests: Tests{Unit: suite, App: Service{Image: "x"}}, err: "give it no image"},
		"service without name":       {tests: Tests{Unit: suite, Services: []Service{{Image: "x"}}}, err: "service 1 has no name"},
		"service named as the app":   {tests: Tests{Unit: suite, Services: []Service{{Name: "app", Image: "x"}}}, err: `two services are named "app"`},
		"services of one name":       {tests: Tests{Unit: suite, Services: []Service{redis, redis}}, err: `two services are named "redis"`},
		"service of nothing":         {tests: Tests{Unit: suite, Services: []Service{{Name: "redis"}}}, err: "either an image or a target"},
		"service of image and stage": {tests: Tests{Unit: suite, Services: []Service{{Name: "redis", Image: "x", Target: "y"}}}, err: "either an image or a target"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.tests.withDefaults().validate()
			if tt.err == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.err)
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
}
