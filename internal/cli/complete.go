package cli

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube"
)

// defaultConfig is the file that is looked for in this directory and those above it.
const defaultConfig = "aksflow.yaml"

// findConfig sets the configuration to the nearest aksflow.yaml, unless a flag names one. It looks no further than the
// top of the git repository.
func (g *globals) findConfig(cmd *cobra.Command) {
	if cmd.Flags().Changed("config") {
		return
	}
	dir, err := os.Getwd()
	if err != nil {
		return
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, defaultConfig)); err == nil {
			if rel, err := filepath.Rel(dir, filepath.Join(at, defaultConfig)); err == nil {
				g.config = rel
			}
			return
		}
		_, err := os.Stat(filepath.Join(at, ".git"))
		if err == nil || filepath.Dir(at) == at {
			return
		}
	}
}

// completion proposes the values of a flag.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFlags makes the shell propose values for the flags of a command that have a fixed set of them, or one that a
// file on this machine knows. Nothing here reaches a network.
func (g *globals) completeFlags(cmd *cobra.Command) {
	fixed := func(values ...string) completion {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values, cobra.ShellCompDirectiveNoFileComp
		}
	}
	found := func(find func(cmd *cobra.Command) []string) completion {
		return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return find(cmd), cobra.ShellCompDirectiveNoFileComp
		}
	}
	for name, complete := range map[string]completion{
		"env":      found(g.environments),
		"context":  found(contexts),
		"ref":      found(g.gitRefs),
		"target":   fixed(config.Targets()...),
		"strategy": fixed(config.Rolling, config.Canary, config.BlueGreen),
		"engine":   fixed(engine.Auto, engine.Dagger, engine.Embedded),
		"output":   fixed("text", "json"),
	} {
		if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
			// It fails only where the flag is not there, or has a completion already.
			_ = cmd.RegisterFlagCompletionFunc(name, complete)
		}
	}
	for _, below := range cmd.Commands() {
		g.completeFlags(below)
	}
}

// environments are those of aksflow.yaml; none where it cannot be read.
func (g *globals) environments(cmd *cobra.Command) []string {
	g.findConfig(cmd)
	cfg, err := config.Load(g.config)
	if err != nil {
		return nil
	}
	return cfg.Names()
}

// contexts are those of the kubeconfig.
func contexts(cmd *cobra.Command) []string {
	kubeconfig, _ := cmd.Flags().GetString("kubeconfig")
	names, err := kube.Contexts(kubeconfig)
	if err != nil {
		return nil
	}
	return names
}

// gitRefs are the branches and tags of the repository, in full.
func (g *globals) gitRefs(cmd *cobra.Command) []string {
	g.findConfig(cmd)
	names, err := git.Refs(filepath.Dir(g.config))
	if err != nil {
		return nil
	}
	slices.Sort(names)
	return names
}
