package flow

import (
	"cmp"
	"context"
	"fmt"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/git"
)

// notMergedBack returns what the branch of a promoted environment has and develop lacks, by GitFlow: the next release would
// not have it.
func (d *Delivery) notMergedBack(ctx context.Context) ([]git.Unmerged, error) {
	if d.config.Flow != config.GitFlow || d.env == nil || d.env.From == "" || d.Decision.Version == "" {
		return nil, nil
	}
	return git.NotMergedBack(ctx, d.config.Dir(), d.Ref, config.Develop)
}

// reminders say what to merge.
func reminders(missing []git.Unmerged) []string {
	var out []string
	for _, m := range missing {
		out = append(out, fmt.Sprintf("%s is not merged back to %s (commit %.10s, %q): merge it there, or the next release lacks it",
			cmp.Or(m.Branch, "a commit"), config.Develop, m.Commit, m.Subject))
	}
	return out
}
