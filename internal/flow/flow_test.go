package flow

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/target"
)

// fake is a target whose steps do what a test says.
type fake struct {
	steps []delivery.Step
	err   error

	rollback func(to string) (delivery.Outcome, error)
	resume   func() (delivery.Outcome, error)
}

func (f fake) Steps(delivery.Release, target.Options) ([]delivery.Step, error) { return f.steps, f.err }

func (f fake) Current(context.Context, *delivery.Environment) (target.Running, error) {
	return target.Running{}, nil
}

func (f fake) Health(context.Context, *delivery.Environment, target.Running) (target.Health, error) {
	return target.Health{}, nil
}

func (f fake) Diff(context.Context, delivery.Release, target.Options) (delivery.Outcome, error) {
	return delivery.Outcome{Detail: &delivery.Difference{Diff: "+ a", Changed: true}}, nil
}

func (f fake) Rollback(_ context.Context, _ delivery.Release, to string, _ target.Options) (delivery.Outcome, error) {
	return f.rollback(to)
}

func (f fake) History(context.Context, *delivery.Environment) ([]delivery.Revision, error) {
	return nil, nil
}

// holding is a fake that can hold a release.
type holding struct{ fake }

func (f holding) Resume(context.Context, delivery.Release, target.Options) (delivery.Outcome, error) {
	return f.resume()
}

func (f holding) Abort(context.Context, delivery.Release, target.Options) (delivery.Outcome, error) {
	return delivery.Outcome{}, nil
}

const configuration = `app: vote
environments:
  dev: {branches: [develop], registry: registry.example, manifests: manifests, namespaces: [more]}
  prod: {target: pull, tags: ["v*"], registry: registry.example, manifests: manifests, gitops: {repo: "https://git.example/vote.git"}}
`

// opened is a delivery to dev by the target, of an aksflow.yaml in a directory that is no git repository.
func opened(t *testing.T, to target.Target, change func(*Request)) *Delivery {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "aksflow.yaml"), []byte(configuration), 0o600))
	r := Request{
		Config: filepath.Join(dir, "aksflow.yaml"), Env: "dev", User: "ann@laptop",
		Variables: func(string) (string, bool) { return "", false },
		Client: func(context.Context, delivery.Session) (*dagger.Client, error) {
			return nil, errors.New("no engine")
		},
	}
	if change != nil {
		change(&r)
	}
	d, err := open(t.Context(), r, []namedTarget{{"push", to}, {"pull", fake{}}})
	require.NoError(t, err)
	return d
}

// A verb needs the variables of what it does.
func TestVariablesOfOtherVerbs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "aksflow.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600))
	checks := func(text string) map[string]error {
		require.NoError(t, os.WriteFile(path, []byte(configuration+text), 0o600))
		d, err := open(t.Context(), Request{Config: path, Variables: func(string) (string, bool) { return "", false }}, []namedTarget{{"push", fake{}}})
		require.NoError(t, err)
		errs := map[string]error{}
		for _, s := range d.imageSteps() {
			if s.Check != nil {
				errs[s.Name] = s.Check(t.Context())
			}
		}
		return errs
	}
	tests := checks("test: {unit: {target: t, env: {A: \"${NONE:?set it}\"}}}\n")
	assert.NoError(t, tests["build"])
	assert.ErrorContains(t, tests["test"], "test.unit.env.A: ")
	build := checks("build: {args: {A: \"${NONE:?set it}\"}}\n")
	assert.ErrorContains(t, build["build"], "build.args.A: ")
	assert.NoError(t, build["test"], "there are no tests")
}

func TestAShortSecretIsWarnedOfOnce(t *testing.T) {
	var warnings []string
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))
	d := opened(t, fake{}, nil)
	for range 2 {
		d.warnOfShort(ctx, "pin", "to\n")
		d.warnOfShort(ctx, "none", "")
		d.warnOfShort(ctx, "token", "long enough")
	}
	assert.Equal(t, []string{"the value of the secret pin is too short to be hidden: output that holds it is shown as it is"}, warnings)
}

// does is a step that ends as it is told.
func does(name string, out delivery.Outcome, err error, needs ...string) delivery.Step {
	return delivery.Step{Name: name, Needs: needs, Changes: true, Run: func(context.Context, *delivery.State) (delivery.Outcome, error) {
		return out, err
	}}
}

func statuses(r *Result) map[string]delivery.Status {
	out := map[string]delivery.Status{}
	for _, s := range r.Steps {
		out[s.Name] = s.Status
	}
	return out
}

func TestStepsRunInTheirOrder(t *testing.T) {
	d := opened(t, fake{}, nil)
	var order []string
	note := func(name string, needs ...string) delivery.Step {
		return delivery.Step{Name: name, Needs: needs, Run: func(_ context.Context, s *delivery.State) (delivery.Outcome, error) {
			order = append(order, name)
			s.Commit += name // what a step leaves is there for the next one
			return delivery.Outcome{Summary: s.Commit}, nil
		}}
	}
	r, err := d.run(t.Context(), "", note("a"), note("b", "a"), note("c", "a", "b"))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c"}, order)
	assert.Equal(t, "abc", r.Steps[2].Message)
	assert.True(t, r.Delivered)
	assert.Equal(t, "dev", r.Environment)
}

func TestWhatNeedsAFailedStepIsSkipped(t *testing.T) {
	d := opened(t, fake{}, nil)
	crash := []delivery.Reason{{Object: "Deployment/web", Reason: "CrashLoopBackOff", Message: "it crashed"}}
	back := &delivery.Deployed{Revision: 6, RolledBack: true}
	r, err := d.run(t.Context(), "",
		does("a", delivery.Outcome{}, nil),
		does("b", delivery.Outcome{Summary: "revision 6 is back", Detail: back}, delivery.WithReasons(errors.New("it crashed"), crash), "a"),
		does("c", delivery.Outcome{}, nil, "b"),
		does("d", delivery.Outcome{}, nil, "c"),
		does("e", delivery.Outcome{}, nil, "a"))
	require.EqualError(t, err, "b: it crashed")
	assert.Equal(t, map[string]delivery.Status{"a": "done", "b": "failed", "c": "skipped", "d": "skipped", "e": "done"}, statuses(r))
	assert.Equal(t, crash, r.Steps[1].Reasons)
	assert.Equal(t, crash, delivery.Reasons(err), "the run's own error has them, too")
	assert.Equal(t, "revision 6 is back", r.Steps[1].Message)
	assert.True(t, r.RolledBack)
	assert.Equal(t, 6, r.Revision)
	assert.False(t, r.Delivered)
}

func TestAHeldReleaseIsNotDelivered(t *testing.T) {
	d := opened(t, fake{}, nil)
	held := &delivery.Deployed{Revision: 2, Held: true}
	r, err := d.run(t.Context(), "",
		does("deploy", delivery.Outcome{Status: delivery.Held, Detail: held}, nil),
		does("after", delivery.Outcome{}, nil, "deploy"))
	require.NoError(t, err)
	assert.Equal(t, map[string]delivery.Status{"deploy": "held", "after": "skipped"}, statuses(r))
	assert.False(t, r.Delivered)
	assert.True(t, r.Held)
	assert.Equal(t, 2, r.Revision)
}

func TestNothingNewIsUnchanged(t *testing.T) {
	d := opened(t, fake{}, nil)
	unchanged := delivery.Outcome{Status: delivery.Unchanged}
	r, err := d.run(t.Context(), "", does("publish", unchanged, nil), does("deploy", unchanged, nil))
	require.NoError(t, err)
	assert.False(t, r.Changed)
	assert.True(t, r.Delivered, "the environment runs it")

	r, err = d.run(t.Context(), "", does("publish", unchanged, nil), does("deploy", delivery.Outcome{}, nil))
	require.NoError(t, err)
	assert.True(t, r.Changed)
}

func TestAProposedChangeIsNotDelivered(t *testing.T) {
	d := opened(t, fake{}, nil)
	r, err := d.run(t.Context(), "", does("bump", delivery.Outcome{Detail: &delivery.Bumped{PullRequest: "https://git.example/1"}}, nil))
	require.NoError(t, err)
	assert.False(t, r.Delivered)
	assert.Equal(t, "https://git.example/1", r.PullRequest)
}

func TestAnInterruptedRunSkipsTheRest(t *testing.T) {
	d := opened(t, fake{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := d.run(ctx, "",
		delivery.Step{Name: "a", Run: func(ctx context.Context, _ *delivery.State) (delivery.Outcome, error) {
			cancel()
			<-ctx.Done()
			return delivery.Outcome{}, ctx.Err()
		}},
		does("b", delivery.Outcome{}, nil))
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	assert.Equal(t, map[string]delivery.Status{"a": "failed", "b": "skipped"}, statuses(r))

	// Between two steps, too.
	ctx, cancel = context.WithCancel(t.Context())
	r, err = d.run(ctx, "",
		delivery.Step{Name: "a", Run: func(context.Context, *delivery.State) (delivery.Outcome, error) {
			cancel()
			return delivery.Outcome{}, nil
		}},
		does("b", delivery.Outcome{}, nil))
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err), "a run that did not do all of its steps did not succeed")
	assert.Equal(t, map[string]delivery.Status{"a": "done", "b": "skipped"}, statuses(r))
}

// The engine is connected to in one step and used in the next.
func TestAConnectionOutlivesItsStep(t *testing.T) {
	var connection context.Context
	d := opened(t, fake{}, func(r *Request) {
		r.Client = func(ctx context.Context, _ delivery.Session) (*dagger.Client, error) {
			connection = ctx
			return nil, nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := d.run(ctx, "",
		delivery.Step{Name: "build", Run: func(ctx context.Context, _ *delivery.State) (delivery.Outcome, error) {
			_, err := d.client(ctx)
			return delivery.Outcome{}, err
		}},
		delivery.Step{Name: "test", Run: func(context.Context, *delivery.State) (delivery.Outcome, error) {
			return delivery.Outcome{}, connection.Err()
		}})
	require.NoError(t, err)
	cancel()
	<-connection.Done()
	assert.ErrorIs(t, context.Cause(connection), context.Canceled, "it ends with the run")
}

func TestEveryStepHasALimit(t *testing.T) {
	d := opened(t, fake{}, nil)
	endless := delivery.Step{Name: "wait", Limit: time.Millisecond, Run: func(ctx context.Context, _ *delivery.State) (delivery.Outcome, error) {
		<-ctx.Done()
		return delivery.Outcome{}, context.Cause(ctx)
	}}
	_, err := d.run(t.Context(), "", endless)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.EqualError(t, err, "wait took more than 1ms: --timeout sets another limit")
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	var left time.Duration
	look := delivery.Step{Name: "look", Run: func(ctx context.Context, _ *delivery.State) (delivery.Outcome, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return delivery.Outcome{}, nil
	}}
	_, err = d.run(t.Context(), "", look)
	require.NoError(t, err)
	assert.InDelta(t, delivery.DefaultLimit.Seconds(), left.Seconds(), 5)

	longer, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
	defer cancel()
	_, err = d.run(longer, "", look)
	require.NoError(t, err)
	assert.Greater(t, left, time.Hour, "the caller's limit is the limit")
}

func TestWhatIsKnownToFailIsSaidBeforeTheFirstStep(t *testing.T) {
	d := opened(t, fake{}, nil)
	ran := false
	_, err := d.run(t.Context(), "",
		delivery.Step{Name: "build", Run: func(context.Context, *delivery.State) (delivery.Outcome, error) {
			ran = true
			return delivery.Outcome{}, nil
		}},
		delivery.Step{Name: "bump", Check: func(context.Context) error { return fault.Usagef("no password") }})
	assert.EqualError(t, err, "no password")
	assert.False(t, ran)
}

func TestEventsSayWhatTheResultSays(t *testing.T) {
	d := opened(t, fake{}, nil)
	var events []report.Event
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) { events = append(events, e) }))
	_, err := d.run(ctx, "", does("a", delivery.Outcome{Summary: "all of it"}, nil), does("b", delivery.Outcome{}, errors.New("no")))
	require.Error(t, err)
	require.Len(t, events, 4)
	assert.Equal(t, []report.Kind{report.StepStarted, report.StepDone, report.StepStarted, report.StepFailed},
		[]report.Kind{events[0].Kind, events[1].Kind, events[2].Kind, events[3].Kind})
	assert.Equal(t, "all of it", events[1].Message)
	assert.Equal(t, "b", events[3].Step)
}

func TestPlanNamesTheStepsThatDeliverRuns(t *testing.T) {
	push := fake{steps: []delivery.Step{{Name: "deploy", About: "manifests"}}}
	d := opened(t, push, nil)
	p, err := d.Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"build", "test", "publish", "deploy manifests"}, p.Steps)
	assert.Equal(t, "--env names it", p.Reason)

	d = opened(t, push, func(r *Request) { r.Env, r.ByRef, r.Ref = "", true, "refs/heads/feature/x" })
	p, err = d.Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"build", "test"}, p.Steps)
	assert.Empty(t, p.Environment)
}

// TestPlanWarnsOfArgumentsFromTheCommit has a Dockerfile that makes each commit another image, and a configuration that
// sets one of the two arguments itself.
func TestPlanWarnsOfArgumentsFromTheCommit(t *testing.T) {
	d := opened(t, fake{}, func(r *Request) {
		dir := filepath.Dir(r.Config)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nARG REVISION\nARG SOURCE_DATE_EPOCH\n"), 0o600))
		require.NoError(t, os.WriteFile(r.Config, []byte(configuration+"build: {context: ., args: {SOURCE_DATE_EPOCH: \"0\"}}\n"), 0o600))
	})
	p, err := d.Plan(t.Context())
	require.NoError(t, err)
	require.Len(t, p.Warnings, 2, "the registry cannot be asked, too")
	assert.Contains(t, p.Warnings[0], "the Dockerfile declares ARG REVISION, which is set from the commit")
}

func TestPlanSaysWhatTheTestsLack(t *testing.T) {
	d := opened(t, fake{}, func(r *Request) {
		tests := "test: {unit: {target: unit, env: {A: \"${NOT_SET_HERE}\", B: \"${MISSING_HERE:?the tests need it}\"}}}\n"
		require.NoError(t, os.WriteFile(r.Config, []byte(configuration+tests), 0o600))
	})
	p, err := d.Plan(t.Context())
	require.NoError(t, err)
	require.Len(t, p.Warnings, 2)
	assert.Contains(t, p.Warnings[0], "test.unit.env.A: the variable NOT_SET_HERE is not set, so its place is empty")
	assert.Contains(t, p.Warnings[1], "MISSING_HERE is missing a value: the tests need it")
}

func TestASingleStepIsFoundInAnotherTarget(t *testing.T) {
	d := opened(t, fake{}, nil)
	d.targets[1].Target = fake{steps: []delivery.Step{does("bump", delivery.Outcome{Detail: &delivery.Bumped{Commit: "abc"}}, nil, "publish")}}
	r, err := d.Step(t.Context(), "bump")
	require.NoError(t, err)
	assert.Equal(t, "abc", r.Commit)

	d.targets[1].Target = fake{err: fault.Usagef("set its gitops.repo")}
	_, err = d.Step(t.Context(), "bump")
	assert.EqualError(t, err, "set its gitops.repo", "why the target cannot is said")
}

func TestVerbsOnWhatWasDelivered(t *testing.T) {
	done := func() (delivery.Outcome, error) {
		return delivery.Outcome{Detail: &delivery.Deployed{Revision: 3}}, nil
	}
	d := opened(t, holding{fake{resume: done, rollback: func(to string) (delivery.Outcome, error) {
		assert.Equal(t, "2", to)
		return done()
	}}}, nil)
	r, err := d.Rollback(t.Context(), "2")
	require.NoError(t, err)
	assert.Equal(t, 3, r.Revision)
	r, err = d.Resume(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 3, r.Revision)
	diff, err := d.Diff(t.Context())
	require.NoError(t, err)
	assert.True(t, diff.Changed)
	history, err := d.History(t.Context())
	require.NoError(t, err)
	assert.NotNil(t, history.Revisions, "an empty list in JSON, not null")

	d = opened(t, fake{}, nil)
	_, err = d.Resume(t.Context())
	assert.EqualError(t, err, "the environment dev is delivered by push, which has no resume")
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	_, err = d.Uninstall(t.Context())
	assert.ErrorContains(t, err, "has no uninstall")
}

func TestAVerbNeedsAnEnvironment(t *testing.T) {
	d := opened(t, fake{}, func(r *Request) { r.Env = "" })
	for _, verb := range []func() error{
		func() error { _, err := d.Step(t.Context(), "deploy"); return err },
		func() error { _, err := d.Rollback(t.Context(), ""); return err },
		func() error { _, err := d.History(t.Context()); return err },
		func() error { _, err := d.Diff(t.Context()); return err },
	} {
		assert.EqualError(t, verb(), "which environment? Name one with --env: dev, prod")
	}
}

func TestSettingsWin(t *testing.T) {
	d := opened(t, fake{}, func(r *Request) {
		r.Set = resolve.Settings{
			Namespace: "other", Manifests: "elsewhere", Strategy: "canary", Percent: []int{5}, Hold: true,
			ValuesFiles: []string{"more.yaml"}, Values: []string{"a.b=1", "a.c=x"},
		}
	})
	env, err := d.Environment()
	require.NoError(t, err)
	assert.Equal(t, "other", env.Namespace)
	assert.Equal(t, []string{"more"}, env.Namespaces)
	assert.Equal(t, "elsewhere", env.Manifests, "a flag's path starts from the working directory")
	assert.Equal(t, "canary", env.Rollout.Strategy)
	assert.Equal(t, []int{5}, env.Rollout.Percent)
	assert.True(t, env.Rollout.Hold)
	assert.Equal(t, []string{"a.b=1", "a.c=x"}, env.SetValues)
	assert.Equal(t, []string{"more.yaml"}, env.MoreValues)
	assert.Equal(t, "registry.example/vote", env.Repository)
}

func TestTheLocalPlatformIsTheRegistryUnderAnyPort(t *testing.T) {
	d := opened(t, fake{}, func(r *Request) {
		text := configuration + "  local: {platform: local, target: pull, manifests: manifests, gitops: {repo: \"http://localhost:3000/vote.git\"}}\n"
		require.NoError(t, os.WriteFile(r.Config, []byte(text), 0o600))
		r.Env = "local"
		r.Local = func() (*resolve.LocalPlatform, error) {
			return &resolve.LocalPlatform{
				Registry: "localhost:34353", Kubeconfig: "/platform/kubeconfig", GitUser: "u", GitPassword: "p",
				GitURL: func(app string) string { return "http://localhost:1/" + app + ".git" },
			}, nil
		}
	})
	env, err := d.Environment()
	require.NoError(t, err)
	assert.Equal(t, "localhost:34353/vote", env.Repository)
	assert.Equal(t, []string{"vote"}, env.GitOps.Replace)
	assert.Equal(t, "/platform/kubeconfig", env.Cluster.Kubeconfig)
	assert.Equal(t, "http://localhost:1/vote.git", env.GitOps.Repo)
	assert.Equal(t, "http://localhost:3000/vote.git", env.Local.Repo, "what setup objects name")
	assert.Equal(t, delivery.Login{Username: "u", Password: "p"}, env.Git.Login)
}
