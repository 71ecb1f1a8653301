package cli

import (
	"context"
	"fmt"
	"io"
	"net/mail"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

type bumpResult struct {
	Changes     []manifest.Change `json:"changes"`
	Commit      string            `json:"commit,omitempty"`
	PullRequest string            `json:"pullRequest,omitempty"`
	// Remaining names the image in places that were not set; Unverified could not be checked.
	Remaining  []manifest.Remaining  `json:"remaining,omitempty"`
	Unverified []manifest.Unverified `json:"unverified,omitempty"`

	unchanged bool
}

// with adds what was left and what could not be checked.
func (r bumpResult) with(edit *manifest.Edit) bumpResult {
	if edit != nil {
		r.Remaining, r.Unverified = edit.Remaining, edit.Unverified
	}
	return r
}

// Text prints the commit or the pull request where there is one, else the files that changed.
func (r bumpResult) Text(w io.Writer) {
	switch {
	case r.PullRequest != "":
		fmt.Fprintln(w, r.PullRequest)
	case r.Commit != "":
		fmt.Fprintln(w, r.Commit)
	default:
		for i, c := range r.Changes {
			if i == 0 || r.Changes[i-1].File != c.File {
				fmt.Fprintln(w, c.File)
			}
		}
	}
}

func (r bumpResult) summary() string {
	if r.unchanged {
		return "nothing to change: the image is set already"
	}
	files := map[string]bool{}
	for _, c := range r.Changes {
		files[c.File] = true
	}
	return fmt.Sprintf("%d references in %d files", len(r.Changes), len(files))
}

func bumpCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	b := &bumpFlags{}
	cmd := &cobra.Command{
		Use:   "bump",
		Short: "Set the image in the manifests: in a directory, or by a commit to a git repository",
		Example: `  aksflow bump --image myregistry.azurecr.io/vote@sha256:… --env production
  aksflow bump --image … --manifests manifests/overlays/dev
  aksflow bump --image … --repo https://github.com/team/config.git --branch main --path apps/vote --pull-request`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if b.target.Image == "" {
				return nil, fault.Usage(errNoImage)
			}
			bump, done, err := p.bumper(ctx, b)
			if err != nil {
				return nil, err
			}
			defer done()
			return step(ctx, "bump", func(ctx context.Context) (result, string, error) {
				out, err := bump(ctx)
				if err != nil {
					return nil, "", err
				}
				for _, c := range out.Changes {
					report.Info(ctx, "%s:%d  %s -> %s", c.File, c.Line, c.From, c.To)
				}
				return out, out.summary(), nil
			})
		}),
	}
	p.envFlag(cmd.Flags())
	b.register(cmd)
	return cmd
}

// bumpFlags say what is set where when the environment does not.
type bumpFlags struct {
	target      manifest.Target
	manifests   string
	repo        string
	branch      string
	path        string
	pullRequest bool
	username    string
	passwordEnv string
	force       bool
	skipCI      bool
	signOff     bool
	strict      bool
	message     string
	author      string
	request     gitops.PullRequest
}

func (b *bumpFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.target.Image, "image", "", "the reference to set: HOST/REPOSITORY@sha256:…")
	f.StringArrayVar(&b.target.Replace, "replace", nil, "set it where this repository `NAME` stands (default: the image's own)")
	f.StringVar(&b.manifests, "manifests", "", "edit the files in this `DIR`; nothing is committed")
	f.StringVar(&b.repo, "repo", "", "commit to the git repository at this `URL`")
	f.StringVar(&b.branch, "branch", "", "its branch (default: the repository's default branch)")
	f.StringVar(&b.path, "path", "", "what may change there (default: everything)")
	f.BoolVar(&b.pullRequest, "pull-request", false, "propose the change instead of pushing it")
	f.StringVar(&b.username, "username", "", "the user of --repo")
	f.StringVar(&b.passwordEnv, "password-env", "", "name of the environment variable that holds the password or token for --repo")
	f.BoolVar(&b.force, "force", false, "set the image also when a later commit rolled it back")
	f.BoolVar(&b.strict, "strict", false, "change nothing when something cannot be verified, such as a kustomization with a remote base")
	f.BoolVar(&b.skipCI, "skip-ci", false, "mark the commit so that it starts no workflow")
	f.BoolVar(&b.signOff, "sign-off", false, "add Signed-off-by to the commit")
	f.StringVar(&b.message, "message", "", "the commit's message, a Go template")
	f.StringVar(&b.author, "author", "", "the commit's author, NAME <EMAIL> (default: GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL)")
	f.StringArrayVar(&b.request.Labels, "label", nil, "with --pull-request: a label (may be repeated)")
	f.StringVar(&b.request.AutoMerge, "auto-merge", "", "with --pull-request: merge, squash or rebase it when the branch's rules are met")
	cmd.MarkFlagsMutuallyExclusive("manifests", "repo", "env")
}

// writer returns the author that was named, if any.
func (b *bumpFlags) writer() (gitops.Author, error) {
	if b.author == "" {
		return gitops.Author{}, nil
	}
	address, err := mail.ParseAddress(b.author)
	if err != nil {
		return gitops.Author{}, fault.Usagef("--author %q: want NAME <EMAIL>", b.author)
	}
	return gitops.Author{Name: address.Name, Email: address.Address}, nil
}

// check says how the edit is verified: by kustomize.
func (b *bumpFlags) check() manifest.Options {
	return manifest.Options{Build: kustomize.Build, Strict: b.strict}
}

// bumper returns what sets the image: in the directory, the repository or the environment that was named.
func (p *place) bumper(ctx context.Context, b *bumpFlags) (func(context.Context) (bumpResult, error), func(), error) {
	none := func() {}
	if b.manifests != "" {
		return func(ctx context.Context) (bumpResult, error) {
			edit, err := manifest.SetDir(ctx, b.manifests, b.target, b.check())
			if err != nil {
				return bumpResult{}, err
			}
			return bumpResult{Changes: changes(edit.Changes), unchanged: len(edit.Changes) == 0}.with(edit.Warn(ctx)), nil
		}, none, nil
	}
	o := gitops.BumpOptions{Branch: b.branch, Path: b.path, PipelineRun: runURL()}
	done := none
	if b.repo != "" {
		password, err := fromEnv("--password-env", b.passwordEnv)
		if err != nil {
			return nil, none, err
		}
		o.Remote = gitops.Remote{URL: b.repo, Auth: gitops.Auth{Username: b.username, Token: password}}
	} else {
		d, closeDelivery, err := p.delivery(ctx)
		if err != nil {
			return nil, none, err
		}
		done = closeDelivery
		if err := p.need(d.Config.Names()); err != nil {
			return nil, done, err
		}
		source, err := d.Source(ctx)
		if err != nil {
			return nil, done, err
		}
		o = d.BumpOptions(b.target.Image, source)
		if o.Remote.URL == "" {
			return nil, done, fault.Usagef("%s: the environment %s names no git repository: set its gitops.repo", d.Config.Path(), p.env)
		}
	}
	b.target.Replace = append(b.target.Replace, o.Target.Replace...)
	b.target.Keys = o.Target.Keys
	o.Check = b.check()
	o.Target, o.Force, o.SkipCI, o.SignOff, o.Message = b.target, b.force, b.skipCI, b.signOff, b.message
	if b.pullRequest || o.PullRequest != nil {
		o.PullRequest = &b.request
	}
	var err error
	if o.Author, err = b.writer(); err != nil {
		return nil, done, err
	}
	return func(ctx context.Context) (bumpResult, error) {
		r, err := gitops.Bump(ctx, o)
		if err != nil {
			return bumpResult{}, err
		}
		return bumpResult{Changes: changes(r.Changes), Commit: r.Commit, PullRequest: r.PullRequest, unchanged: r.Unchanged}.with(r.Plan), nil
	}, done, nil
}

// changes is list, as JSON's [] when there are none.
func changes(list []manifest.Change) []manifest.Change {
	if list == nil {
		return []manifest.Change{}
	}
	return list
}
