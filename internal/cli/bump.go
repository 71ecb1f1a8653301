package cli

import (
	"context"
	"fmt"
	"io"
	"net/mail"
	"os"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

type bumpResult struct{ *delivery.Bumped }

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

func (r bumpResult) outputs() []report.Output {
	return []report.Output{{Name: "commit", Value: r.Commit}, {Name: "pull-request", Value: r.PullRequest}}
}

func bumpCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var dir, author string
	cmd := &cobra.Command{
		Use:   "bump",
		Short: "Set the image in the manifests: in a directory, or by a commit to a git repository",
		Example: `  aksflow bump --image myregistry.azurecr.io/vote@sha256:… --env production
  aksflow bump --image … --manifests manifests/overlays/dev
  aksflow bump --image … --repo https://github.com/team/config.git --branch main --path apps/vote --pull-request`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if r.Image == "" {
				return nil, errNoImage
			}
			if dir != "" && r.Env == "" {
				bumped, err := flow.SetImage(ctx, dir, manifest.Target{Image: r.Image, Replace: r.Options.Replace}, r.Options.Pull.Strict)
				return bumpResult{bumped}, err
			}
			if dir != "" {
				r.Config, r.Variables, r.Azure = g.config, os.LookupEnv, g.newAzure()
				bumped, err := flow.SetImageFor(ctx, r.Request, dir)
				return bumpResult{bumped}, err
			}
			if err := r.setAuthor(author); err != nil {
				return nil, err
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Step(ctx, "bump")
			return bumpResult{detail[delivery.Bumped](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	f.StringVar(&r.Image, "image", "", "the reference to set: HOST/REPOSITORY@sha256:…")
	f.StringArrayVar(&r.Options.Replace, "replace", nil, "set it where this repository `NAME` stands (default: the image's own)")
	f.StringVar(&dir, "manifests", "", "edit the files in this `DIR`; nothing is committed. With --env: as in the repository of the environment")
	f.StringVar(&r.Set.Repo, "repo", "", "commit to the git repository at this `URL`")
	f.StringVar(&r.Set.Branch, "branch", "", "its branch (default: the repository's default branch)")
	f.StringVar(&r.Set.Path, "path", "", "what may change there (default: everything)")
	f.BoolVar(&r.Set.PullRequest, "pull-request", false, "propose the change instead of pushing it")
	f.StringVar(&r.Set.GitUsername, "username", "", "the user of --repo")
	f.StringVar(&r.Set.GitPasswordEnv, "password-env", "", "name of the environment variable that holds the password or token for --repo")
	o := &r.Options.Pull
	f.BoolVar(&o.Force, "force", false, "set the image also when a later commit rolled it back")
	f.BoolVar(&o.Strict, "strict", false, "change nothing when something cannot be verified, such as a kustomization with a remote base, or when a chart's template names the image")
	f.BoolVar(&o.SkipCI, "skip-ci", false, "mark the commit so that it starts no workflow")
	f.BoolVar(&o.SignOff, "sign-off", false, "add Signed-off-by to the commit")
	f.StringVar(&o.Message, "message", "", "the commit's message, a Go template")
	f.StringVar(&author, "author", "", "the commit's author, NAME <EMAIL> (default: GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL)")
	f.StringArrayVar(&o.Labels, "label", nil, "with --pull-request: a label (may be repeated)")
	f.StringVar(&o.AutoMerge, "auto-merge", "", "with --pull-request: merge, squash or rebase it when the branch's rules are met")
	f.StringVar(&r.RunURL, "run-url", "", "the page of the CI run, for the commit (default: $AKSFLOW_RUN_URL, else what the CI system says)")
	cmd.MarkFlagsMutuallyExclusive("manifests", "repo")
	cmd.MarkFlagsMutuallyExclusive("repo", "env")
	return cmd
}

// setAuthor takes the author of the commit from a flag.
func (r *request) setAuthor(flag string) error {
	if flag == "" {
		return nil
	}
	address, err := mail.ParseAddress(flag)
	if err != nil {
		return fault.Usagef("--author %q: want NAME <EMAIL>", flag)
	}
	r.Options.Pull.AuthorName, r.Options.Pull.AuthorEmail = address.Name, address.Address
	return nil
}

var errNoImage = fault.Usagef("name the image with --image")
