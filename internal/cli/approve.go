package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

type approveResult struct{ *delivery.Approved }

func (r approveResult) Text(w io.Writer) {
	fmt.Fprintf(w, "%s %s for %s, signed by %s\n", r.Image, r.Decision, r.Environment, r.By)
}

func approveCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var reason string
	var revoke bool
	cmd := &cobra.Command{
		Use:   "approve",
		Short: "Sign that an image may be promoted to an environment",
		Long: `Signs that an image may be promoted to an environment, and attaches that to its digest in the registry. It is for
environments with gates.approve.signed. gates.approve.signed.by lists who may approve, and a signature by anybody else is refused.

Without --image it is what the environment before runs now.`,
		Example: `  aksflow approve --env production --key ann.key --reason "looked at it in staging"
  aksflow approve --env production --keyless --image myregistry.azurecr.io/vote@sha256:…
  aksflow approve --env production --key ann.key --revoke --reason "the cart is empty"`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			approved, err := d.Approve(ctx, reason, revoke)
			return approveResult{approved}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	f.StringVar(&r.Image, "image", "", "the image to approve, HOST/REPOSITORY@sha256:… (default: what the environment before runs)")
	f.StringVar(&reason, "reason", "", "why, for the record")
	f.BoolVar(&revoke, "revoke", false, "take an approval back that was signed by the same key or identity")
	r.signFlags(f)
	r.registryFlags(f)
	r.clusterFlags(f)
	r.recordFlags(f)
	cmd.MarkFlagsMutuallyExclusive("key", "keyless")
	return cmd
}

// signFlags say who signs what a person says about an image.
func (r *request) signFlags(f *pflag.FlagSet) {
	f.Var(keyFlag{&r.SignAs.Key}, "key", "sign approvals and overrides with this private key: a file, whose password is in COSIGN_PASSWORD, or the address of a key in Azure Key Vault (default: as environments.NAME.sign)")
	f.BoolVar(&r.SignAs.Keyless, "keyless", false, "sign them with the identity of this CI run")
}

// overrideFlag opens closed gates.
func (r *request) overrideFlag(f *pflag.FlagSet) {
	f.Var(reasonFlag{&r.Override}, "override", "promote though gates are closed, for this `REASON`; only for those whom gates.override lists, and recorded on the image")
}

// reasonFlag is a flag value that wants a text.
type reasonFlag struct{ value *string }

func (r reasonFlag) String() string {
	if r.value == nil {
		return ""
	}
	return *r.value
}

func (r reasonFlag) Type() string { return "REASON" }

func (r reasonFlag) Set(value string) error {
	if *r.value = strings.TrimSpace(value); *r.value == "" {
		return fault.Usagef("say why")
	}
	return nil
}

// keyFlag is a flag value that is a file, relative to the working directory, or the address of a key.
type keyFlag struct{ value *string }

func (k keyFlag) String() string { return reasonFlag(k).String() }

func (k keyFlag) Type() string { return "FILE|ADDRESS" }

func (k keyFlag) Set(value string) (err error) {
	*k.value = value
	if value != "" && !strings.Contains(value, "://") {
		*k.value, err = filepath.Abs(value)
	}
	return err
}
