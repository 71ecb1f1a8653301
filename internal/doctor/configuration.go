package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/build/files"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

// configuration checks aksflow.yaml against the files that it names.
func configuration(cfg *config.Config) []delivery.Check {
	checks := []delivery.Check{delivery.Passed(filepath.Base(cfg.Path()), report.Count(len(cfg.Names()), "environment"))}
	return append(checks, stages(cfg)...)
}

// manifests renders the manifests of each environment.
func (o Options) manifests(ctx context.Context, cfg *config.Config) []delivery.Check {
	ctx = report.With(ctx, report.SinkFunc(func(report.Event) {})) // the checks say what became of it
	var checks []delivery.Check
	for _, name := range cfg.Names() {
		if c, missing := noManifests(cfg, cfg.Environments[name]); missing {
			checks = append(checks, c)
			continue
		}
		r := o.Request
		r.Env = name
		found, err := flow.Validate(ctx, r)
		message := "they stand in the repository that the operator follows"
		if err == nil && found.Environments[0].Objects > 0 {
			message = report.Count(found.Environments[0].Objects, "object")
		}
		checks = append(checks, delivery.NewCheck("manifests of "+name, message, err))
	}
	return checks
}

// stages checks that the Dockerfile has the stages that aksflow.yaml names.
func stages(cfg *config.Config) []delivery.Check {
	path := filepath.Join(cfg.Abs(cfg.Build.Context), cfg.Build.Dockerfile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []delivery.Check{{
			Name: "Dockerfile", Status: delivery.CheckFailed, Message: "there is none at " + path,
			Remedy: "set build.context and build.dockerfile in " + cfg.Path(),
		}}
	}
	if err != nil {
		return []delivery.Check{delivery.NewCheck("Dockerfile", "", err)}
	}
	file := dockerfile.Parse(text)
	var missing, found []string
	for _, s := range named(cfg) {
		if _, err := file.Stage(s.target); err != nil {
			missing = append(missing, fmt.Sprintf("%s names the stage %s", s.key, s.target))
		} else if s.target != "" {
			found = append(found, s.target)
		}
	}
	if len(missing) > 0 {
		return []delivery.Check{{
			Name: "Dockerfile", Status: delivery.CheckFailed, Message: strings.Join(missing, ", ") + ", which " + path + " has not",
			Remedy: "add it: FROM … AS NAME; there are " + strings.Join(stageNames(file), ", "),
		}}
	}
	message := path
	if len(found) > 0 {
		message += " has the stages " + strings.Join(found, ", ")
	}
	return append([]delivery.Check{delivery.Passed("Dockerfile", message)}, inputs(cfg, file)...)
}

// inputs checks that what the stages are made from is there: base images that have a name, and files.
func inputs(cfg *config.Config, file dockerfile.File) (checks []delivery.Check) {
	root := cfg.Abs(cfg.Build.Context)
	finds, err := files.Finds(root, cfg.Build.Dockerfile)
	if err != nil {
		return []delivery.Check{delivery.NewCheck("build context", "", err)}
	}
	var nameless, absent, hidden []string
	for _, s := range named(cfg) {
		closure, err := file.Closure(s.target, cfg.Build.Args, cmp.Or(cfg.Build.Platform, "linux/amd64"))
		if err != nil {
			continue // the check of stages says so
		}
		nameless = append(nameless, closure.Nameless...)
		for _, read := range closure.Reads {
			if found, ignored := finds(read.Path); ignored {
				hidden = append(hidden, read.Path)
			} else if !found {
				absent = append(absent, read.Path)
			}
		}
	}
	warn := func(of []string, name, begin, end, remedy string) {
		if slices.Sort(of); len(of) > 0 {
			checks = append(checks, delivery.Check{Name: name, Status: delivery.CheckWarning, Message: begin + strings.Join(slices.Compact(of), ", ") + end, Remedy: remedy})
		}
	}
	warn(nameless, "base image", "", " names no image: the argument has no value", "set it in "+cfg.Path()+" under build.args, or give the ARG a default value")
	warn(absent, "build context", "the Dockerfile reads ", ", which "+root+" does not have", "make it in a stage of the Dockerfile, or before the delivery; or set build.context in "+cfg.Path())
	warn(hidden, "build context", "the Dockerfile reads ", ", which .dockerignore leaves out", "add an exception to .dockerignore: a line with ! before the path")
	return checks
}

// namedStage is a stage that a key of aksflow.yaml names.
type namedStage struct{ key, target string }

func named(cfg *config.Config) []namedStage {
	stages := []namedStage{{"build.target", cfg.Build.Target}}
	if s := cfg.Test.Unit; s != nil {
		stages = append(stages, namedStage{"test.unit.target", s.Target})
	}
	if s := cfg.Test.Integration; s != nil {
		stages = append(stages, namedStage{"test.integration.target", s.Target})
	}
	for _, s := range cfg.Test.Services {
		if s.Target != "" {
			stages = append(stages, namedStage{"the service " + s.Name, s.Target})
		}
	}
	return stages
}

func stageNames(file dockerfile.File) []string {
	var names []string
	for _, s := range file.Stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return []string{"none with a name"}
	}
	slices.Sort(names)
	return names
}

// noManifests is the check of manifests that are not there. Those of a pull target may stand in the repository that is
// written to.
func noManifests(cfg *config.Config, env *config.Environment) (c delivery.Check, missing bool) {
	_, err := os.Stat(cfg.Abs(env.Manifests))
	if err == nil || !errors.Is(err, fs.ErrNotExist) || env.OperatorApplies() {
		return c, false
	}
	return delivery.Check{
		Name: "manifests of " + env.Name, Status: delivery.CheckFailed, Message: "there is nothing at " + cfg.Abs(env.Manifests),
		Remedy: "name a kustomization, a chart or a directory in environments." + env.Name + ".manifests",
	}, true
}
