package gitops

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/gitops/wait"
)

// Target is the pull target: it writes the image into the manifests of a git repository, and waits until the operator
// that follows the repository has brought it to the pods.
type Target struct {
	// Apply applies objects to the environment's cluster. It is called on the local platform only.
	Apply func(ctx context.Context, env *delivery.Environment, objects []*unstructured.Unstructured) error
}

var (
	_ target.Target   = Target{}
	_ target.Preparer = Target{}
)

// Steps implements target.Target: bump, then wait.
func (t Target) Steps(r delivery.Release, o target.Options) ([]delivery.Step, error) {
	if r.Env.GitOps.Repo == "" {
		return nil, fault.Usagef("the environment %s names no git repository: set its gitops.repo in aksflow.yaml", r.Env.Name)
	}
	return []delivery.Step{
		{
			Name: "bump", About: fmt.Sprintf("%s in %s", pathOrRoot(r.Env.GitOps.Path), r.Env.GitOps.Repo),
			Needs: []string{"publish"}, Changes: true,
			Check: func(ctx context.Context) error {
				_, _, err := remoteOf(r.Env).Token(ctx)
				return err
			},
			Run: func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
				return t.bump(ctx, s, o)
			},
		},
		{
			Name: "wait", Needs: []string{"bump"},
			Run: func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
				return t.wait(ctx, s, o)
			},
		},
	}, nil
}

func (t Target) bump(ctx context.Context, s *delivery.State, o target.Options) (delivery.Outcome, error) {
	if s.Release.Image.Repository == "" {
		return delivery.Outcome{}, fault.Usagef("which image? Name it with --image HOST/REPOSITORY@sha256:…")
	}
	if err := seed(ctx, s.Release.Env); err != nil {
		return delivery.Outcome{}, err
	}
	result, err := Bump(ctx, bumpOptions(s.Release, o))
	if err != nil {
		return delivery.Outcome{}, err
	}
	s.Commit, s.PullRequest, s.Release.Image = result.Commit, result.PullRequest, ref.Read(result.Image)
	return bumped(ctx, result), nil
}

// bumped is the outcome of a bump or a rollback.
func bumped(ctx context.Context, r *Result) delivery.Outcome {
	detail := &delivery.Bumped{
		Changes: r.Changes, Branch: r.Branch, Commit: r.Commit, PullRequest: r.PullRequest, Unchanged: r.Unchanged,
	}
	if detail.Changes == nil {
		detail.Changes = []manifest.Change{}
	}
	if r.Plan != nil {
		detail.Remaining, detail.Unverified = r.Plan.Remaining, r.Plan.Unverified
	}
	for _, c := range r.Changes {
		report.Info(ctx, "%s:%d  %s -> %s", c.File, c.Line, c.From, c.To)
	}
	out := delivery.Outcome{Detail: detail, Summary: fmt.Sprintf("%.12s on %s", r.Commit, r.Branch)}
	if r.Unchanged {
		out.Status, out.Summary = delivery.Unchanged, "nothing to commit: "+r.Branch+" has it"
	}
	if r.PullRequest != "" {
		out.Summary = r.PullRequest
	}
	return out
}

func (t Target) wait(ctx context.Context, s *delivery.State, o target.Options) (delivery.Outcome, error) {
	if s.PullRequest != "" {
		return delivery.Outcome{
			Status:  delivery.Unchanged,
			Summary: "not waited for: merge the pull request, then run `aksflow wait`",
		}, nil
	}
	env := s.Release.Env
	if err := t.follow(ctx, env); err != nil {
		return delivery.Outcome{}, err
	}
	options := t.waitOptions(env, o)
	options.Commit, options.Image = s.Commit, s.Release.Image.String()
	result, err := wait.Until(ctx, options)
	if err != nil {
		return delivery.Outcome{}, err
	}
	detail := &delivery.Waited{Operator: result.Operator, Name: result.Name, Revision: result.Revision, Objects: []delivery.Object{}}
	for _, object := range result.Objects {
		detail.Objects = append(detail.Objects, delivery.Object{Ref: object.Ref, Ready: object.Ready, Message: object.Message})
	}
	return delivery.Outcome{
		Summary: fmt.Sprintf("%s runs it, %s", result.Name, report.Count(len(result.Objects), "object")), Detail: detail,
	}, nil
}

// waitOptions say which operator follows the environment's repository, and how it is asked.
func (t Target) waitOptions(env *delivery.Environment, o target.Options) wait.Options {
	remote, g := remoteOf(env), env.GitOps
	return wait.Options{
		Kubeconfig: env.Cluster.Kubeconfig, Context: env.Cluster.Context, Network: env.Network, Access: env.ClusterAccess,
		ArgoCDServer: env.ArgoCD.Server, ArgoCDToken: env.ArgoCD.Token,
		Operator: g.Operator, Namespace: g.Namespace, Name: g.Application,
		RepoURL: g.Repo, Branch: g.Branch, Path: g.Path, Sync: o.Pull.Sync, Grace: o.Grace,
		Contains: func(ctx context.Context, revision, commit string) (bool, error) {
			return remote.Contains(ctx, g.Branch, revision, commit)
		},
	}
}

// bumpOptions are what Bump and Rollback need to know of a release.
func bumpOptions(r delivery.Release, o target.Options) BumpOptions {
	out := BumpOptions{
		Remote: remoteOf(r.Env), Branch: r.Env.GitOps.Branch, Path: r.Env.GitOps.Path,
		Target:  r.Env.ImageToSet(r.Image.String(), o.Replace),
		Check:   manifest.Options{Build: kustomize.Build, Chart: render.Chart, Strict: o.Pull.Strict},
		Author:  git.Author{Name: o.Pull.AuthorName, Email: o.Pull.AuthorEmail},
		Message: o.Pull.Message, SourceRevision: r.Source.Revision(), PipelineRun: r.RunURL,
		Evidence: r.Evidence, Settle: r.Published,
		SignOff: o.Pull.SignOff, SkipCI: o.Pull.SkipCI, Force: o.Pull.Force,
	}
	if r.Env.GitOps.PullRequest {
		out.PullRequest = &PullRequest{Labels: o.Pull.Labels, AutoMerge: o.Pull.AutoMerge}
	}
	return out
}

// remoteOf is the environment's repository with its credentials.
func remoteOf(env *delivery.Environment) git.Remote {
	return git.Remote{URL: env.GitOps.Repo, Access: env.Git, Network: env.Network}
}

// Rollback implements target.Target: it takes the image in git back to what it was, by a new commit.
func (t Target) Rollback(ctx context.Context, r delivery.Release, to string, o target.Options) (delivery.Outcome, error) {
	options := bumpOptions(r, o)
	options.Target.Image = r.Env.Repository
	result, err := Rollback(ctx, RollbackOptions{BumpOptions: options, To: to})
	if err != nil {
		return delivery.Outcome{}, err
	}
	return bumped(ctx, result), nil
}

// Diff implements target.Target.
func (t Target) Diff(_ context.Context, r delivery.Release, _ target.Options) (delivery.Outcome, error) {
	return delivery.Outcome{}, fault.Usagef("%s is delivered by pull, so aksflow applies nothing there: see what a change does in the pull request of a bump, or in %s",
		r.Env.Name, r.Env.GitOps.Operator)
}

// History implements target.Target.
func (t Target) History(_ context.Context, env *delivery.Environment) ([]delivery.Revision, error) {
	return nil, fault.Usagef("%s is delivered by pull: its history is that of %s in git, %s", env.Name, pathOrRoot(env.GitOps.Path), env.GitOps.Repo)
}

// Prepare implements target.Preparer. On the local platform it puts the manifests into the git server, unless the branch
// exists. The operator is not told to follow them before the first delivery: they name an image that does not exist yet, and
// Flux would wait for it until a timeout before it looks at the delivery.
func (t Target) Prepare(ctx context.Context, env *delivery.Environment) error { return seed(ctx, env) }

// follow makes the operator of the local platform follow the environment's repository. Elsewhere the cluster's owner does
// that.
func (t Target) follow(ctx context.Context, env *delivery.Environment) error {
	if err := seed(ctx, env); err != nil || env.Local == nil || env.GitOps.Setup == "" {
		return err
	}
	objects, err := render.Render(ctx, env.GitOps.Setup, render.Options{})
	if err != nil {
		return err
	}
	for _, o := range objects {
		o.Object = replaced(o.Object, env.Local.Repo, env.GitOps.Repo).(map[string]any)
	}
	secret, err := repositorySecret(ctx, env, objects)
	if err != nil {
		return err
	}
	if secret != nil {
		objects = append(objects, secret)
	}
	if err := t.Apply(ctx, env, objects); err != nil {
		return fmt.Errorf("making %s follow %s: %w", env.GitOps.Operator, env.GitOps.Repo, err)
	}
	return nil
}

// seed puts the manifests into the local platform's git server. An overlay builds on what stands beside it, so all of
// the first directory of the path goes there.
func seed(ctx context.Context, env *delivery.Environment) error {
	if env.Local == nil || env.Local.Seed == nil {
		return nil
	}
	top, _, _ := strings.Cut(env.GitOps.Path, "/")
	dir, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, top), os.DirFS(filepath.Join(env.Local.Dir, top))); err != nil {
		return fmt.Errorf("copying %s for the local platform's git server: %w", top, err)
	}
	if err := env.Local.Seed(ctx, env.GitOps.Branch, dir); err != nil {
		return fmt.Errorf("putting %s into the local platform's git server: %w", top, err)
	}
	return nil
}

// repositorySecret is the repository's password in the form that the operator reads, in the operator's own namespace:
// that of the objects. It is nil where there is no password.
//
//   - https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories
//   - https://fluxcd.io/flux/components/source/gitrepositories/#secret-reference
func repositorySecret(ctx context.Context, env *delivery.Environment, objects []*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if env.Git.Login == nil {
		return nil, nil
	}
	username, password, err := env.Git.Login.Login(ctx)
	if err != nil {
		return nil, err
	}
	data := map[string]any{"username": username, "password": password}
	metadata := map[string]any{"name": env.App + "-git"}
	for _, o := range objects {
		if namespace := o.GetNamespace(); namespace != "" {
			metadata["namespace"] = namespace
		}
	}
	if env.GitOps.Operator == config.ArgoCD {
		data["type"], data["url"] = "git", env.GitOps.Repo
		metadata["labels"] = map[string]any{"argocd.argoproj.io/secret-type": "repository"}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data,
	}}, nil
}

// replaced returns a copy of a JSON value with from replaced by to in all strings.
func replaced(value any, from, to string) any {
	switch v := value.(type) {
	case string:
		if from == "" {
			return v
		}
		return strings.ReplaceAll(v, from, to)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = replaced(v[i], from, to)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = replaced(v[key], from, to)
		}
		return out
	default:
		return v
	}
}
