package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// revision is what there is to know about a recorded deploy.
type revision struct {
	Number         int                    `json:"number"`
	Status         cluster.RevisionStatus `json:"status"`
	Image          string                 `json:"image,omitempty"`
	SourceRevision string                 `json:"sourceRevision,omitempty"`
	RunURL         string                 `json:"runURL,omitempty"`
	User           string                 `json:"user"`
	Time           time.Time              `json:"time"`
	Message        string                 `json:"message,omitempty"`
}

// historyResult are revisions, the newest first.
type historyResult []revision

func (r historyResult) Text(w io.Writer) {
	if len(r) == 0 {
		return
	}
	rows := make([][]string, 0, len(r))
	for _, one := range r {
		message, _, _ := strings.Cut(one.Message, "\n")
		rows = append(rows, []string{
			strconv.Itoa(one.Number), string(one.Status), one.Time.Local().Format(time.DateTime), one.User,
			fmt.Sprintf("%.12s", one.SourceRevision), ref.Read(one.Image).Short(), message,
		})
	}
	report.Table(w, []string{"revision", "status", "when", "who", "source", "image", ""}, rows)
}

func historyCommand(g *globals) *cobra.Command {
	t := &target{place: place{g: g}}
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the revisions that the cluster remembers, with what became of each",
		Example: `  aksflow history --env dev
  aksflow history --app vote --namespace vote-dev --output json`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := t.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if d.Environment.Target == config.Pull {
				return nil, fault.Usagef("%s is delivered by pull: its history is that of %s in git", d.Environment.Name, d.Environment.GitOps.Path)
			}
			cluster, err := d.Cluster(ctx)
			if err != nil {
				return nil, err
			}
			revisions, err := cluster.History(ctx, d.Config.App, d.Namespace())
			if err != nil {
				return nil, err
			}
			if len(revisions) == 0 {
				report.Info(ctx, "nothing of %s has been deployed to %s", d.Config.App, d.Namespace())
			}
			out := make(historyResult, 0, len(revisions))
			for _, r := range revisions {
				out = append(out, revision{r.Number, r.Status, r.Image, r.SourceRevision, r.RunURL, r.User, r.Time, r.Message})
			}
			return out, nil
		}),
	}
	t.flags(cmd.Flags())
	return cmd
}
