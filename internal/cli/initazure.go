package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/azure/setup"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
)

// initAzureResult is the JSON document of `aksflow init azure`.
type initAzureResult struct {
	Directory string       `json:"directory,omitempty"`
	Files     []setup.File `json:"files"`
}

// Text writes the files one after another, or the names of those that were written.
func (r *initAzureResult) Text(w io.Writer) {
	for i, file := range r.Files {
		if r.Directory != "" {
			fmt.Fprintln(w, filepath.Join(r.Directory, file.Name))
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "==> %s <==\n%s", file.Name, file.Content)
	}
}

func initAzureCommand(g *globals) *cobra.Command {
	var o setup.Options
	var directory string
	var force, compare bool
	cmd := &cobra.Command{
		Use:   "azure",
		Short: "Print the identities, roles and Kubernetes objects that deliveries to Azure need, as Bicep, ARM templates and YAML",
		Long: `Prints what each environment of aksflow.yaml needs in Azure, each part with what it is for: a user-assigned identity, the
federated credentials that let a workflow's job on GitHub be it without a secret, its role assignments, and its Roles in the
cluster. Pull requests get an identity of their own, which may only pull. The Bicep file and the ARM template of the same name
hold the same resources: deploy one of them, then apply the YAML. Nothing is changed in Azure by this command.

With --diff it reads what is there, and prints what is missing, different or more than planned: exit code 1 means that there is
a difference. It needs the role Reader on the subscription, and reads nothing in the clusters.`,
		Example: `  aksflow init azure --repository OWNER/NAME
  aksflow init azure --repository OWNER@1/NAME@2 --env dev --output-dir infra`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			var err error
			if o.Config, err = config.Load(g.config); err != nil {
				return nil, err
			}
			o.Lookup = os.LookupEnv
			o.Repository = cmp.Or(o.Repository, gitHubRepository(), onGitHub(filepath.Dir(g.config)))
			plan, err := setup.Make(o)
			if err != nil {
				return nil, err
			}
			for _, notice := range plan.Notices {
				report.Warn(ctx, "%s", notice)
			}
			if compare {
				return g.compareAzure(ctx, plan)
			}
			files, err := plan.Files()
			if err != nil {
				return nil, err
			}
			if directory != "" {
				err = writeNew(ctx, directory, files, force)
			}
			if err != nil {
				return nil, err
			}
			return &initAzureResult{directory, files}, nil
		}),
	}
	f := cmd.Flags()
	setupFlags(f, &o)
	f.StringVar(&directory, "output-dir", "", "write the files into this `DIRECTORY` (default: print them)")
	f.BoolVar(&compare, "diff", false, "compare with what is in Azure; exits with 0 for no difference, 1 for one, 2 for an error")
	cmd.MarkFlagsMutuallyExclusive("diff", "output-dir")
	f.BoolVar(&force, "force", false, "replace files of --output-dir that have other contents")
	return cmd
}

// setupFlags say what is planned.
func setupFlags(f *pflag.FlagSet, o *setup.Options) {
	f.StringSliceVarP(&o.Environments, "env", "e", nil, "an environment of aksflow.yaml (may be repeated; default: all that are in Azure)")
	f.StringVar(&o.Repository, "repository", "", "OWNER/NAME or OWNER@ID/NAME@ID of the repository on GitHub whose workflows deliver (default: that of the workflow that this runs in, else the remote origin)")
	f.StringSliceVar(&o.Trust, "trust", []string{setup.TrustEnvironment},
		"which jobs may be the identity of an environment: environment (they name it, and GitHub asks for its approvals), branch, tag (may be repeated)")
	f.BoolVar(&o.PullRequests, "pull-requests", true, "also the identity of pull requests, which may only pull")
	f.BoolVar(&o.ABAC, "abac", false, "the registries have repository permissions (ABAC)")
	f.StringVar(&o.Group, "resource-group", "", "where the identities are (default: that of the environment's cluster)")
	f.StringVar(&o.RegistryGroup, "registry-resource-group", "", "where the registries are (default: where the identities are)")
	f.StringVar(&o.Subscription, "subscription", "", "the subscription's ID, for environments without cluster.aks")
}

// azureDifferences is the JSON document of `aksflow init azure --diff`.
type azureDifferences struct {
	Differences []azure.Difference `json:"differences"`
}

// Text writes a line for each difference, below the identity that it is about.
func (r *azureDifferences) Text(w io.Writer) {
	if len(r.Differences) == 0 {
		fmt.Fprintln(w, "no difference")
	}
	identity := ""
	for _, d := range r.Differences {
		if d.Identity != identity {
			fmt.Fprintln(w, d.Identity)
			identity = d.Identity
		}
		fmt.Fprintf(w, "  %-9s  %s", d.Status, d.What)
		if d.Detail != "" {
			fmt.Fprintf(w, ": %s", d.Detail)
		}
		fmt.Fprintln(w)
	}
}

// compareAzure compares a plan with what is in Azure.
func (g *globals) compareAzure(ctx context.Context, plan *setup.Plan) (result, error) {
	differences, err := g.newAzure().Compare(ctx, plan)
	switch {
	case err != nil:
		return nil, fault.Usage(err)
	case len(differences) > 0:
		return &azureDifferences{differences}, errDiffers
	}
	return &azureDifferences{[]azure.Difference{}}, nil
}

// gitHubRepository is the repository of the workflow that this runs in, with its IDs where they are known; "" elsewhere.
// https://docs.github.com/actions/reference/workflows-and-actions/variables
func gitHubRepository() string {
	repository := os.Getenv("GITHUB_REPOSITORY")
	owner, name, _ := strings.Cut(repository, "/")
	ownerID, id := os.Getenv("GITHUB_REPOSITORY_OWNER_ID"), os.Getenv("GITHUB_REPOSITORY_ID")
	if ownerID == "" || id == "" || name == "" {
		return repository
	}
	return owner + "@" + ownerID + "/" + name + "@" + id
}

// onGitHub is the repository on GitHub that the remote origin of a work tree is; "" when it is none.
func onGitHub(dir string) string {
	origin, _, err := git.Origin(dir)
	if err != nil {
		return "" // --repository names it
	}
	m := gitHubRemote.FindStringSubmatch(origin)
	if m == nil {
		return ""
	}
	return m[1]
}

var gitHubRemote = regexp.MustCompile(`^(?:https://(?:[^@/]*@)?github\.com/|(?:ssh://)?git@github\.com[:/])([^/]+/[^/]+?)(?:\.git)?/?$`)

// writeNew writes files into a directory. Without force it writes none where one is there with other contents.
func writeNew(ctx context.Context, directory string, files []setup.File, force bool) error {
	var replaced []string
	for _, file := range files {
		path := filepath.Join(directory, file.Name)
		content, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fault.Usage(fmt.Errorf("--output-dir: %w", err))
		case !bytes.Equal(content, []byte(file.Content)):
			replaced = append(replaced, path)
		}
	}
	if len(replaced) > 0 && !force {
		return fault.Usagef("there with other contents: %s. Nothing was written: --force replaces them", strings.Join(replaced, ", "))
	}
	for _, path := range replaced {
		report.Warn(ctx, "%s is replaced", path)
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fault.Usage(fmt.Errorf("--output-dir: %w", err))
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(directory, file.Name), []byte(file.Content), 0o644); err != nil {
			return fault.Usage(fmt.Errorf("--output-dir: %w", err))
		}
	}
	return nil
}
