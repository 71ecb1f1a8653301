package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// manResult is the JSON document of `aksflow man`.
type manResult struct {
	Directory string `json:"directory"`
	Pages     int    `json:"pages"`
}

// Text names the directory.
func (r *manResult) Text(w io.Writer) { fmt.Fprintf(w, "%d pages in %s\n", r.Pages, r.Directory) }

func manCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIRECTORY",
		Short:   "Write the manual pages, one for each verb",
		Example: "  aksflow man /usr/local/share/man/man1",
		Args:    exactly(1),
		RunE: g.run(func(_ context.Context, cmd *cobra.Command, args []string) (result, error) {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, fault.Usage(err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// The pages have no date of their own, so that the same program writes the same pages.
			date := time.Unix(0, 0).UTC()
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "AKSFLOW", Section: "1", Date: &date, Source: "aksflow " + g.version, Manual: "aksflow"}, dir); err != nil {
				return nil, fmt.Errorf("writing the manual pages: %w", err)
			}
			pages, err := filepath.Glob(filepath.Join(dir, "aksflow*.1")) // others may be there, too
			return &manResult{Directory: dir, Pages: len(pages)}, err
		}),
	}
}
