package embedded

import (
	"sync/atomic"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// tree is a file system that BuildKit makes on demand.
type tree struct {
	state llb.State
	// steps are the commands that ran to make it.
	steps []*step
	// identity is what the content is known by, where that is known beforehand: an image's digest.
	identity string
}

// step is a command that runs.
type step struct {
	// outputs are all file systems that it leaves: the container's, its mounts', its output. BuildKit remembers only
	// those that somebody asked for, and would run the step again for another. So they are asked for together.
	outputs []llb.State
	// solved says that they were, in this session.
	solved atomic.Bool
	// services are those that it talks to.
	services []*api.Node
	// before are the steps that its inputs come from.
	before []*step
}

// walk visits the steps that made a tree, each once.
func (t tree) walk(visit func(*step)) {
	seen := map[*step]bool{}
	var walk func([]*step)
	walk = func(steps []*step) {
		for _, s := range steps {
			if !seen[s] {
				seen[s] = true
				walk(s.before)
				visit(s)
			}
		}
	}
	walk(t.steps)
}

// needs are the services that the steps talk to which make a tree.
func (t tree) needs() (services []*api.Node) {
	t.walk(func(s *step) { services = append(services, s.services...) })
	return services
}
