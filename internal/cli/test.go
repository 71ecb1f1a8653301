package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/fault"
)

type testResult struct {
	Summary string     `json:"summary"`
	Tests   []testCase `json:"tests"`
	Reports []string   `json:"reports"`
}

type testCase struct {
	Suite   string  `json:"suite"`
	Name    string  `json:"name"`
	Status  string  `json:"status"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// Text says where the reports are; the summary and the failures are in the events and in the error.
func (r testResult) Text(w io.Writer) {
	for _, path := range r.Reports {
		_, _ = io.WriteString(w, path+"\n")
	}
}

func testCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	var tarball, reports string
	var noCache bool
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the unit tests, then the integration tests against the built image with its services beside it",
		Example: `  aksflow test --report reports
  aksflow test --image vote.tar      # the very bytes that publish will push`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := p.delivery(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if d.Config.Test.Unit == nil && d.Config.Test.Integration == nil {
				return nil, fault.Usagef("%s has no tests: name the Dockerfile's stages under test.unit and test.integration", d.Config.Path())
			}
			d.NoCache = noCache
			return step(ctx, "test", func(ctx context.Context) (result, string, error) {
				results, err := d.Test(ctx, tarball)
				if results == nil {
					return nil, "", err
				}
				out := testResult{Summary: results.Summary(), Reports: []string{}}
				for _, c := range results.Cases() {
					out.Tests = append(out.Tests, testCase{c.Suite, build.Case.String(c), string(c.Status), c.Elapsed.Seconds(), c.Message})
				}
				if reports != "" {
					paths, writing := results.Write(reports)
					out.Reports, err = paths, errors.Join(err, writing)
				}
				return out, out.Summary, err
			})
		}),
	}
	p.envFlag(cmd.Flags())
	p.buildFlags(cmd.Flags())
	cmd.Flags().StringVar(&tarball, "image", "", "test the image in this `FILE`, an OCI tarball (default: one that is built now)")
	cmd.Flags().StringVar(&reports, "report", "", "write JUnit XML into this `DIR`")
	cmd.Flags().BoolVar(&noCache, "no-cache", false, "run tests again whose content did not change")
	return cmd
}
