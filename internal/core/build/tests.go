package build

import (
	"errors"
	"fmt"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Names and places that a Suite or a Service has when it does not say otherwise.
const (
	// DefaultReports is the directory in which a suite's runner leaves its JUnit XML.
	DefaultReports = "/reports"
	// DefaultAppName is the host name under which the tests reach the image under test.
	DefaultAppName = "app"
	// DefaultAppPort is the TCP port of the image under test.
	DefaultAppPort = 8080
	// DefaultStartTimeout is how long a service may take until its ports answer.
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
	// App is how the image under test runs: Image and Target stay empty. Name and Ports default to DefaultAppName and
	// DefaultAppPort. The integration tests find it in the environment variable APP_URL, as "http://NAME:PORT" with
	// the first of its ports.
	App Service
	// Services run beside the app, reachable for the app and for the integration tests, and for the services that
	// stand later in the list.
	Services []Service
	// NoCache runs the tests even if nothing that they depend on has changed since they last ran.
	NoCache bool
	// StartTimeout bounds the start of each service. 0: DefaultStartTimeout.
	StartTimeout time.Duration
}

// Suite is a set of tests: a container, and a command in it that writes JUnit XML and exits with 0 when all is well.
type Suite struct {
	// Target is the stage of the app's Dockerfile that holds the tests and their runner.
	Target string
	// Command runs the tests. Empty: the stage's ENTRYPOINT and CMD.
	Command []string
	// Reports is the directory in the container in which Command leaves its *.xml files. Empty: DefaultReports.
	Reports string
	// Env is set for Command.
	Env map[string]string
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
	// Env is added to the image's environment.
	Env map[string]string
	// Ports are the TCP ports that must answer before the tests start, with those that the image exposes.
	Ports []int
}

// NewTests returns the tests that the configuration describes.
func NewTests(test config.Test) Tests {
	tests := Tests{
		Unit:        newSuite(test.Unit),
		Integration: newSuite(test.Integration),
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

func newSuite(s *config.Suite) *Suite {
	if s == nil {
		return nil
	}
	return &Suite{Target: s.Target, Command: s.Command, Reports: s.Reports, Env: s.Env}
}

// withDefaults returns t with the empty fields filled in.
func (t Tests) withDefaults() Tests {
	if t.App.Name == "" {
		t.App.Name = DefaultAppName
	}
	if len(t.App.Ports) == 0 {
		t.App.Ports = []int{DefaultAppPort}
	}
	if t.StartTimeout == 0 {
		t.StartTimeout = DefaultStartTimeout
	}
	return t
}

// validate says what is wrong with t, as a misuse. It wants the defaults filled in.
func (t Tests) validate() error {
	var errs []error
	misuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.Unit == nil && t.Integration == nil {
		misuse("there is nothing to test: name the Dockerfile stage of the unit tests, of the integration tests, or of both")
	}
	for name, suite := range map[string]*Suite{Unit: t.Unit, Integration: t.Integration} {
		if suite != nil && suite.Target == "" {
			misuse("the %s tests name no stage of the Dockerfile: set their target", name)
		}
	}
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
		if (s.Image == "") == (s.Target == "") {
			misuse("service %q needs either an image or a target, a stage of the Dockerfile", s.Name)
		}
	}
	return fault.Usage(errors.Join(errs...))
}
