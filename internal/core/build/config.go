package build

import (
	"maps"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/config"
)

// NewApp returns the app that the configuration describes, built from source. The further arguments win over the
// configured ones. The caller adds the secrets, because their values come from where it runs.
func NewApp(from config.Build, source *dagger.Directory, args map[string]string) App {
	all := maps.Clone(from.Args)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, args)
	return App{
		Source:     source,
		Dockerfile: from.Dockerfile,
		Target:     from.Target,
		BuildArgs:  all,
		Platform:   dagger.Platform(from.Platform),
	}
}

// NewTests returns the tests that the configuration describes.
func NewTests(test config.Test) Tests {
	tests := Tests{
		Unit:        suite(test.Unit),
		Integration: suite(test.Integration),
		App:         Service{Name: test.App.Name, Env: test.App.Env},
	}
	if test.App.Port != 0 {
		tests.App.Ports = []int{test.App.Port}
	}
	for _, s := range test.Services {
		tests.Services = append(tests.Services, Service{
			Name: s.Name, Image: s.Image, Target: s.Target, Args: s.Args, Env: s.Env, Ports: s.Ports,
		})
	}
	return tests
}

func suite(s *config.Suite) *Suite {
	if s == nil {
		return nil
	}
	return &Suite{Target: s.Target, Command: s.Command, Reports: s.Reports, Env: s.Env}
}
