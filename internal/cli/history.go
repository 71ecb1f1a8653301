package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

type historyResult struct{ *delivery.History }

func (r historyResult) Text(w io.Writer) {
	if len(r.Revisions) == 0 {
		return
	}
	rows := make([][]string, 0, len(r.Revisions))
	for _, one := range r.Revisions {
		message, _, _ := strings.Cut(one.Message, "\n")
		rows = append(rows, []string{
			strconv.Itoa(one.Number), one.Status, one.Time.Local().Format(time.DateTime), one.User,
			shortCommit(one.SourceRevision), ref.Read(one.Image).Short(), message,
		})
	}
	report.Table(w, []string{"revision", "status", "when", "who", "source", "image", ""}, rows)
}

// shortCommit is the first 12 digits of a commit, with -dirty behind it where the work tree had other changes.
func shortCommit(revision string) string {
	commit, dirty := strings.CutSuffix(revision, "-dirty")
	commit = fmt.Sprintf("%.12s", commit)
	if dirty {
		commit += "-dirty"
	}
	return commit
}

func historyCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the revisions that the cluster remembers, with what became of each",
		Example: `  aksflow history --env dev
  aksflow history --app vote --namespace vote-dev --output json`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			history, err := d.History(ctx)
			return historyResult{history}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.appFlags(f)
	return cmd
}
