package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
)

// logsResult is the JSON document of `aksflow logs`.
type logsResult struct {
	Lines []kube.LogLine `json:"lines"`
}

// Text is empty: the lines were written as they came.
func (*logsResult) Text(io.Writer) {}

func logsCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var o kube.LogOptions
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Print what the app's pods in an environment write",
		Long: `Prints the output of the pods of the manifests' workloads, each line after the names of its pod and container. Who
applied them does not matter. --follow goes on until Ctrl-C, and takes in pods that are made meanwhile.`,
		Example: `  aksflow logs --env dev
  aksflow logs --env dev --follow --since 10m --container vote`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if o.Follow && g.output == "json" {
				return nil, fault.Usagef("--follow has no end, and --output json is one document: leave one out")
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			res := &logsResult{Lines: []kube.LogLine{}}
			containers, err := d.Logs(ctx, o, func(l kube.LogLine) {
				if g.output == "json" {
					res.Lines = append(res.Lines, l)
					return
				}
				fmt.Fprintf(g.stdout, "%s/%s  %s\n", l.Pod, l.Container, report.Clean(l.Text))
			})
			if err == nil && containers == 0 {
				report.Info(ctx, "no pod of the app has started")
			}
			return res, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.appFlags(f)
	r.renderFlags(f)
	f.BoolVar(&o.Follow, "follow", false, "go on with what pods write from now on, until Ctrl-C")
	f.Int64Var(&o.Tail, "tail", 0, "only so many of the last lines of each container (default: all)")
	f.DurationVar(&o.Since, "since", 0, "only lines that are newer than this, such as 10m (default: all)")
	f.StringVar(&o.Container, "container", "", "only containers of this name (default: all)")
	f.BoolVar(&o.Previous, "previous", false, "the run before a container's last restart")
	return cmd
}
