package build

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Defaults.
const (
	// DefaultReports is the directory in a suite's container in which the runner leaves its JUnit XML.
	DefaultReports = "/reports"
	// DefaultAppName is the host name under which the tests reach the image under test.
	DefaultAppName = "app"
	// DefaultAppPort is the TCP port of an image under test that exposes none.
	DefaultAppPort = 8080
	// DefaultStartTimeout is how long a service may take until it is ready.
	DefaultStartTimeout = time.Minute
)

// The names of the two suites, in reports and in file names.
const (
	Unit        = "unit"
	Integration = "integration"
)

// Tests says how an app is tested.
type Tests struct {
	// Unit runs by itself. Nil: there are no unit tests.
	Unit *Suite
	// Integration runs as a client of the image under test and of the Services. Nil: there are no integration tests.
	Integration *Suite
	// App is how the image under test runs: Image and Target stay empty. Name defaults to DefaultAppName, Ports to the
	// one port that the image exposes or, if it exposes none, to DefaultAppPort. The integration tests find it in the
	// environment variable APP_URL, as "http://NAME:PORT" with the first of its ports.
	App Service
	// Services run beside the app. The app, the integration tests, and services later in the list can reach them.
	Services []Service
	// NoCache runs the tests even if they passed before and nothing that they depend on has changed.
	NoCache bool
	// StartTimeout is that of services that have none. 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// Hide removes secrets from what the tests wrote: their output and their reports. Nil: there are none.
	Hide func(string) string
	// Warnings are for the reader, before anything runs.
	Warnings []string
	// Unset, if any, is why the tests cannot run: the configuration uses variables that are not set.
	Unset error
}

// Suite is a set of tests: a container, and a command in it that writes JUnit XML and exits with 0 when all is well.
type Suite struct {
	// Target is the stage of the app's Dockerfile that holds the tests and their runner.
	Target string
	// Command runs the tests. Empty: the stage's ENTRYPOINT and CMD.
	Command []string
	// Reports is the directory in the container in which Command leaves its *.xml files, in subdirectories too. Empty:
	// DefaultReports.
	Reports string
	// Env is set for Command. It is public: it is part of the key under which a result is remembered.
	Env map[string]string
	// Secrets are set for Command beside Env. Their values enter no key and no log.
	Secrets map[string]*dagger.Secret
	// Cache lists directories in the container that keep their content from one run to the next.
	Cache []string
}

// Service is a server that runs while the integration tests do.
type Service struct {
	// Name is the host name under which it is reached.
	Name string
	// Image is the reference of the image that it runs, as in "docker.io/library/redis:8"; or
	Image string
	// Target is the stage of the app's Dockerfile that it runs. One of the two is set.
	Target string
	// Args replaces the image's CMD. Empty: the image's own.
	Args []string
	// Env is added to the image's environment. It is public, as a suite's is.
	Env map[string]string
	// Secrets are added to the environment beside Env.
	Secrets map[string]*dagger.Secret
	// Ports are the TCP ports that must answer before the tests start, with those that the image exposes. A service
	// whose image has a HEALTHCHECK has to be healthy too.
	Ports []int
	// StartTimeout bounds the time until it is ready. 0: that of Tests.
	StartTimeout time.Duration
}

// NewTests returns the tests that the configuration describes. The secrets are those that it names, by the name of the
// environment variable.
func NewTests(test config.Test, secrets map[string]*dagger.Secret) Tests {
	tests := Tests{
		Unit:        newSuite(test.Unit, secrets),
		Integration: newSuite(test.Integration, secrets),
		App: Service{
			Name: test.App.Name, Env: test.App.Env, Secrets: secretsOf(test.App.Secrets, secrets), StartTimeout: test.App.StartTimeout,
		},
		Warnings: test.Warnings, Unset: test.Unset,
	}
	if test.App.Port != 0 {
		tests.App.Ports = []int{test.App.Port}
	}
	for _, s := range test.Services {
		tests.Services = append(tests.Services, Service{
			Name: s.Name, Image: s.Image, Target: s.Target, Args: s.Args, Env: s.Env, Ports: s.Ports,
			Secrets: secretsOf(s.Secrets, secrets), StartTimeout: s.StartTimeout,
		})
	}
	return tests
}

func newSuite(s *config.Suite, secrets map[string]*dagger.Secret) *Suite {
	if s == nil {
		return nil
	}
	return &Suite{
		Target: s.Target, Command: s.Command, Reports: s.Reports, Env: s.Env, Secrets: secretsOf(s.Secrets, secrets), Cache: s.Cache,
	}
}

// secretsOf returns the given secrets that a part of the configuration names. One that is not given is nil.
func secretsOf(named map[string]config.Secret, given map[string]*dagger.Secret) map[string]*dagger.Secret {
	of := map[string]*dagger.Secret{}
	for name := range named {
		of[name] = given[name]
	}
	return of
}

// withDefaults returns t with the empty fields filled in, except for the ports of the app, which its image knows.
func (t Tests) withDefaults() Tests {
	t.App.Name = cmp.Or(t.App.Name, DefaultAppName)
	t.StartTimeout = cmp.Or(t.StartTimeout, DefaultStartTimeout)
	t.App.StartTimeout = cmp.Or(t.App.StartTimeout, t.StartTimeout)
	if t.Hide == nil {
		t.Hide = func(text string) string { return text }
	}
	t.Services = slices.Clone(t.Services)
	for i := range t.Services {
		t.Services[i].StartTimeout = cmp.Or(t.Services[i].StartTimeout, t.StartTimeout)
	}
	return t
}

// validate returns what is wrong with t, as a usage error. The defaults have to be filled in.
func (t Tests) validate() error {
	var errs []error
	misuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.Unit == nil && t.Integration == nil {
		misuse("there is nothing to test: name the Dockerfile stage of the unit tests, of the integration tests, or of both")
	}
	missing := func(what string, secrets map[string]*dagger.Secret) {
		for name, secret := range secrets {
			if secret == nil {
				misuse("%s needs the secret %s, which is not given", what, name)
			}
		}
	}
	for name, suite := range map[string]*Suite{Unit: t.Unit, Integration: t.Integration} {
		if suite == nil {
			continue
		}
		if suite.Target == "" {
			misuse("the %s tests name no stage of the Dockerfile: set their target", name)
		}
		missing("test."+name, suite.Secrets)
	}
	missing("test.app", t.App.Secrets)
	if t.App.Image != "" || t.App.Target != "" {
		misuse("the app under test is the built image: give it no image and no target")
	}
	seen := map[string]bool{t.App.Name: true}
	for i, s := range t.Services {
		switch {
		case s.Name == "":
			misuse("service %d has no name: it is the host name under which the tests reach it", i+1)
		case seen[s.Name]:
			misuse("two services are named %q: give each its own host name", s.Name)
		}
		seen[s.Name] = true
		missing("service "+s.Name, s.Secrets)
		if (s.Image == "") == (s.Target == "") {
			misuse("service %q needs either an image or a target, a stage of the Dockerfile", s.Name)
		}
	}
	return fault.Usage(errors.Join(errs...))
}
