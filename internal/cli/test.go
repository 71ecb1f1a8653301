package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

type testResult struct{ *delivery.Tested }

// Text says where the reports are. The summary and the failures are in the events and in the error.
func (r testResult) Text(w io.Writer) {
	for _, path := range r.Reports {
		_, _ = io.WriteString(w, path+"\n")
	}
}

func testCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the unit tests, then the integration tests against the built image with its services beside it",
		Example: `  aksflow test --report reports
  aksflow test --image vote.tar      # the very bytes that publish will push`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if err := d.NeedTests(); err != nil {
				return nil, err
			}
			run, err := d.Step(ctx, "test")
			r.describe(ctx, "test", d, run, err)
			return testResult{detail[delivery.Tested](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.buildFlags(f)
	f.StringVar(&r.Tarball, "image", "", "test the image in this `FILE`, an OCI tarball (default: one that is built now)")
	f.StringVar(&r.Reports, "report", "", "write JUnit XML and report.html, a page about the run, into this `DIR`")
	r.retestFlag(f)
	return cmd
}
