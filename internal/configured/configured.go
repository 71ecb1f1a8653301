// Package configured turns what aksflow.yaml says into what package pipeline does. The command and the Dagger module
// share it, so that both build and test the same.
package configured

import (
	"maps"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/config"
	"github.com/aksflow/aksflow/internal/pipeline"
)

// App is what build says, built from source with further arguments, which win. The secrets are left to the caller: they
// come from where it runs.
func App(build config.Build, source *dagger.Directory, args map[string]string) pipeline.App {
	all := maps.Clone(build.Args)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, args)
	return pipeline.App{
		Source:     source,
		Dockerfile: build.Dockerfile,
		Target:     build.Target,
		BuildArgs:  all,
		Platform:   dagger.Platform(build.Platform),
	}
}

// Tests is what test says.
func Tests(test config.Test) pipeline.Tests {
	tests := pipeline.Tests{
		Unit:        suite(test.Unit),
		Integration: suite(test.Integration),
		App:         pipeline.Service{Name: test.App.Name, Env: test.App.Env},
	}
	if test.App.Port != 0 {
		tests.App.Ports = []int{test.App.Port}
	}
	for _, s := range test.Services {
		tests.Services = append(tests.Services, pipeline.Service{
			Name: s.Name, Image: s.Image, Target: s.Target, Args: s.Args, Env: s.Env, Ports: s.Ports,
		})
	}
	return tests
}

func suite(s *config.Suite) *pipeline.Suite {
	if s == nil {
		return nil
	}
	return &pipeline.Suite{Target: s.Target, Command: s.Command, Reports: s.Reports, Env: s.Env}
}
