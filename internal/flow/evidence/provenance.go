package evidence

import (
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/proof"
)

// builderID is who built, where no CI run is known.
const builderID = "https://github.com/aksflow/aksflow"

// Provenance says how an image was built: from which source, with which build key, and for which git ref.
func Provenance(cfg *config.Config, r delivery.Release, buildKey, gitRef string) proof.SLSA {
	b := cfg.Build
	p := proof.SLSA{BuildDefinition: proof.BuildDefinition{
		BuildType: proof.BuildType,
		ExternalParameters: proof.BuildArguments{
			Dockerfile: b.Dockerfile, Target: b.Target, Platform: b.Platform, Args: b.Args, Ref: gitRef, Version: r.Version,
		},
		InternalParameters: proof.BuildKeys{BuildKey: buildKey, SourceKey: r.Source.Key},
	}}
	if commit := r.Source.Commit; commit != "" {
		p.BuildDefinition.ResolvedDependencies = []proof.Resource{{
			Name: "source", URI: git.SourceURI(cfg.Abs(b.Context)), Digest: map[string]string{"gitCommit": commit},
		}}
	}
	p.RunDetails.Builder.ID = builderID
	if r.RunURL != "" {
		p.RunDetails.Metadata.InvocationID = r.RunURL
	}
	p.RunDetails.Metadata.FinishedOn = time.Now().UTC().Truncate(time.Second)
	return p
}
