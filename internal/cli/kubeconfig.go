package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
)

type kubeconfigResult struct{ *kubeconfigFile }

// kubeconfigFile is the JSON document of `aksflow kubeconfig`.
type kubeconfigFile struct {
	Context string    `json:"context"`
	Server  string    `json:"server"`
	Expires time.Time `json:"expires,omitzero"`
	File    string    `json:"file,omitempty"`
}

// Text writes nothing: the kubeconfig itself went to stdout, or to its file.
func (kubeconfigResult) Text(io.Writer) {}

func kubeconfigCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var file string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Make a kubeconfig that needs no credential plugin and no other file",
		Long: `Runs the credential plugin of a kubeconfig's context, reads the files that it names, and writes a kubeconfig with what they
gave: for a container or a job that has neither. For an environment with cluster.aks it logs in to Azure instead. The
kubeconfig is valid until its credentials expire, which is said. It holds them in clear: the file has mode 0600, and in
GitHub Actions and Azure Pipelines the log hides them.`,
		Example: `  aksflow kubeconfig --output-file kubeconfig.static
  aksflow kubeconfig --context aks-dev > kubeconfig.static`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if file == "-" {
				file = ""
			}
			if err := g.checkSecretOutput(file); err != nil {
				return nil, err
			}
			options, err := r.clusterOptions(ctx)
			if err != nil {
				return nil, err
			}
			if err := checkTarget(file, options.Kubeconfig); err != nil {
				return nil, err
			}
			static := kube.StaticOptions{Options: options, Stderr: g.stderr}
			if isatty.IsTerminal(os.Stdin.Fd()) {
				static.Stdin = os.Stdin
			}
			made, err := kube.MakeStatic(ctx, static)
			if err != nil {
				return nil, err
			}
			g.mask(made.Secrets)
			out := &kubeconfigFile{Context: made.Context, Server: made.Server, Expires: made.Expires, File: file}
			if file == "" {
				_, err = g.stdout.Write(made.Content)
			} else {
				err = replaceSecretFile(file, made.Content)
			}
			if err != nil {
				return nil, fmt.Errorf("writing the kubeconfig: %w", err)
			}
			report.Info(ctx, "%s", out.about(time.Now()))
			return kubeconfigResult{out}, nil
		}),
	}
	r.envFlag(cmd.Flags())
	r.clusterFlags(cmd.Flags())
	cmd.Flags().StringVarP(&file, "output-file", "o", "", "write the kubeconfig to this `FILE`, with mode 0600 (default: stdout, if that is no terminal)")
	return cmd
}

// replaceSecretFile writes a file of mode 0600 as a whole or not at all, whatever mode a file of that name had.
func replaceSecretFile(file string, content []byte) error {
	pending, err := renameio.NewPendingFile(file, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = pending.Cleanup() }()
	if _, err := pending.Write(content); err != nil {
		return err
	}
	return pending.CloseAtomicallyReplace()
}

// about says what the kubeconfig is for and how long it is valid.
func (f *kubeconfigFile) about(now time.Time) string {
	valid := "its credentials do not say when they expire"
	if !f.Expires.IsZero() {
		valid = fmt.Sprintf("valid until %s, for %s", f.Expires.UTC().Format("2006-01-02 15:04 MST"), report.Span(f.Expires.Sub(now).Truncate(time.Minute)))
	}
	where := f.File
	if where == "" {
		where = "stdout"
	}
	return fmt.Sprintf("%s has the context %s of %s: %s", where, f.Context, f.Server, valid)
}

// checkSecretOutput returns an error where stdout cannot take a kubeconfig and no file is named.
func (g *globals) checkSecretOutput(file string) error {
	stdout, isFile := g.stdout.(*os.File)
	switch {
	case file != "":
		return nil
	case g.output == "json":
		return fault.Usagef("--output json does not show the kubeconfig, which holds credentials: name a file for it with --output-file")
	case isFile && isatty.IsTerminal(stdout.Fd()):
		return fault.Usagef("stdout is a terminal, and the kubeconfig holds credentials: name a file with --output-file")
	}
	return nil
}

// checkTarget returns an error for a file that must not be replaced: one that the kubeconfig is made from, or something
// else than a file.
func checkTarget(file, source string) error {
	if file == "" {
		return nil
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault.Usage(fmt.Errorf("--output-file: %w", err))
	case !info.Mode().IsRegular():
		return fault.Usagef("--output-file %s is there, and is no file: name another one", file)
	}
	for _, path := range kube.Files(source) {
		if original, err := os.Stat(path); err == nil && os.SameFile(original, info) {
			return fault.Usagef("--output-file %s is a kubeconfig that the new one is made from, and would lose its other contexts and its plugin: name another file", file)
		}
	}
	return nil
}

// clusterOptions are the cluster of the environment that is named, else the one of the flags.
func (r *request) clusterOptions(ctx context.Context) (kube.Options, error) {
	if r.Env == "" {
		return kube.Options{Kubeconfig: r.Set.Kubeconfig, Context: r.Set.Context}, nil
	}
	d, done, err := r.open(ctx)
	if err != nil {
		return kube.Options{}, err
	}
	defer done()
	env, err := d.Environment()
	if err != nil {
		return kube.Options{}, err
	}
	return kube.Options{Kubeconfig: env.Cluster.Kubeconfig, Context: env.Cluster.Context, Access: env.ClusterAccess}, nil
}

// mask makes the CI system that this runs in hide values in its log. The commands go to stderr: stdout may be what is
// hidden.
func (g *globals) mask(values []string) {
	switch {
	case os.Getenv("GITHUB_ACTIONS") == "true":
		report.MaskGitHub(g.stderr, values)
	case os.Getenv("TF_BUILD") != "":
		report.MaskAzure(g.stderr, values)
	}
}
