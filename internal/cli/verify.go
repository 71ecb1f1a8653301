package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

type verifyResult struct{ *delivery.Verified }

func (r verifyResult) Text(w io.Writer) {
	headers := []string{"proof", "says", "signed by"}
	if r.Environment != "" {
		headers = append(headers, "counts in "+r.Environment)
	}
	rows := [][]string{}
	for _, p := range r.Proofs {
		row := []string{p.Kind, p.Says, p.Signed}
		if p.Signed == "" {
			row[2] = "nobody"
		}
		if r.Environment != "" {
			row = append(row, counts(p))
		}
		rows = append(rows, row)
	}
	report.Table(w, headers, rows)
	for _, problem := range append(r.Problems, r.Refused...) {
		_, _ = io.WriteString(w, problem+"\n")
	}
}

// counts returns the table cell about a proof: that it counts in an environment, or why it does not.
func counts(p delivery.Proof) string {
	switch {
	case p.By != "":
		return "yes: " + p.By
	case p.Why != "":
		return "no: " + strings.TrimPrefix(p.Why, "it is ")
	}
	return "unverified"
}

func verifyCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Show what is attached to an image: tests, SBOM, provenance, environments, and who signed it",
		Long: `Show what is attached to an image: tests, SBOM, provenance, environments, and who signed it.

With --env the rules of the environment (environments.NAME.verify) are applied: the exit code is 1 when it would refuse the
image. Without them nothing is verified: whoever may push to the repository may attach what this shows.`,
		Example: `  aksflow verify myregistry.azurecr.io/vote:1.4.0
  aksflow verify --env production myregistry.azurecr.io/vote@sha256:… --output json`,
		Args: exactly(1),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, args []string) (result, error) {
			r.Image = args[0]
			if r.Env == "" {
				r.Set.Repository = ref.Read(r.Image).Repository
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			verified, err := d.Verify(ctx)
			return verifyResult{verified}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.registryFlags(f)
	return cmd
}
