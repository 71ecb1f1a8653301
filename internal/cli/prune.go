package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform"
)

// pruneResult is the JSON document of `aksflow prune`.
type pruneResult struct {
	Parts []*prunedPart `json:"parts"`
	Bytes int64         `json:"bytes"` // of all parts
	// Deleted reports that the parts were deleted, and not only looked at.
	Deleted bool `json:"deleted"`
}

// prunedPart is one part of the state directory.
type prunedPart struct {
	Name      string `json:"name"`
	Directory string `json:"directory"`
	Bytes     int64  `json:"bytes"`
	about     string
	remove    func(context.Context) error
}

// Text writes the parts with their sizes.
func (r *pruneResult) Text(w io.Writer) {
	var rows [][]string
	for _, p := range r.Parts {
		rows = append(rows, []string{p.Name, mebibytes(p.Bytes), p.Directory, p.about})
	}
	report.Table(w, []string{"part", "size", "where", ""}, rows)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func pruneCommand(g *globals) *cobra.Command {
	var yes bool
	names := []string{"engine", "layers", "platform"}
	cmd := &cobra.Command{
		Use:   "prune [PART...]",
		Short: "Show how much the caches on this machine hold, and delete them with --yes",
		Long: `Shows what the state directory holds, and deletes it after a question on a terminal, or with --yes.

engine    images, results of builds and cache volumes of the embedded engine
layers    layers of images, which make the export of the next image faster
platform  the local platform: its registry, git repositories and cluster; only after ` + "`aksflow down`" + `

Without parts: engine and layers. What is deleted is made again by the next build, which takes longer.`,
		Example:   "  aksflow prune\n  aksflow prune engine layers platform --yes",
		ValidArgs: names,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.OnlyValidArgs(cmd, args); err != nil {
				return fault.Usagef("%w: want %s", err, strings.Join(names, ", "))
			}
			return nil
		},
		RunE: g.run(func(ctx context.Context, cmd *cobra.Command, args []string) (result, error) {
			if len(args) == 0 {
				args = []string{"engine", "layers"}
			}
			r, err := g.pruned(args)
			if err != nil {
				return nil, err
			}
			if !yes && (!isatty.IsTerminal(os.Stdin.Fd()) || g.output == "json") {
				report.Info(ctx, "nothing was deleted: --yes deletes %s", mebibytes(r.Bytes))
				return r, nil
			}
			if !yes {
				r.Text(g.stderr)
				if !confirm(os.Stdin, g.stderr, fmt.Sprintf("Delete %s?", mebibytes(r.Bytes))) {
					return nil, nil
				}
			}
			for _, p := range r.Parts {
				if err := p.remove(ctx); err != nil {
					return nil, err
				}
			}
			r.Deleted = true
			report.Info(ctx, "%s are free", mebibytes(r.Bytes))
			return r, nil
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "delete without a question")
	return cmd
}

// confirm asks a question that Enter answers with no.
func confirm(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer)))
}

// pruned measures parts of the state directory.
func (g *globals) pruned(names []string) (*pruneResult, error) {
	state, platform, err := g.stateDirs()
	if err != nil {
		return nil, err
	}
	layers := filepath.Join(state, "layers")
	r := &pruneResult{}
	for _, p := range []*prunedPart{
		{
			Name: "engine", Directory: engine.CacheDir(state), about: "images, results of builds, cache volumes",
			remove: func(ctx context.Context) error { return engine.Prune(ctx, state, os.Environ()) },
		},
		{
			Name: "layers", Directory: layers, about: "layers of images",
			remove: func(context.Context) error { return os.RemoveAll(layers) },
		},
		{
			Name: "platform", Directory: platform, about: "the local platform's registry, repositories and cluster",
			remove: func(context.Context) error { return localplatform.Remove(platform) },
		},
	} {
		if !slices.Contains(names, p.Name) {
			continue
		}
		if p.Bytes, err = sizeOf(p.Directory); err != nil {
			return nil, err
		}
		r.Bytes += p.Bytes
		r.Parts = append(r.Parts, p)
	}
	return r, nil
}

// sizeOf adds up the files of a directory. It does not follow symbolic links. Directories that this user may not read are left
// out: they belong to the users inside of its own containers, and hold little.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was deleted meanwhile, or never there
		}
		if errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measuring %s: %w", dir, err)
	}
	return total, nil
}
