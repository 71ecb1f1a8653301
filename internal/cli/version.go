package cli

import (
	"context"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
)

// versionResult is the JSON document of `aksflow version`.
type versionResult struct {
	Version  string          `json:"version"`
	Commit   string          `json:"commit,omitempty"`
	Go       string          `json:"go"`
	Platform string          `json:"platform"`
	Engine   engine.Versions `json:"engine"`
}

// Text writes what is known, one line each.
func (r *versionResult) Text(w io.Writer) {
	var rows [][]string
	for _, row := range [][]string{
		{"aksflow", r.Version, r.Platform}, {"commit", r.Commit, ""}, {"go", r.Go, ""},
		{"dagger", r.Engine.Dagger, "the API that the pipeline is written in"},
		{"dagger CLI", r.Engine.DaggerCLI, "installed"},
		{"engine", r.Engine.Embedded, "where there is no Dagger engine"},
		{"buildkit", r.Engine.BuildKit, "the embedded engine's client"},
		{"buildkitd", r.Engine.BuildKitDaemon, "installed"},
		{"runc", r.Engine.Runc, "installed"},
	} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	report.Table(w, []string{"part", "version", ""}, rows)
}

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of aksflow and of what it builds with",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			r := &versionResult{
				Version: g.version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				Engine: engine.FindVersions(ctx, os.Environ()),
			}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						r.Commit = s.Value
					}
				}
			}
			return r, nil
		}),
	}
}
