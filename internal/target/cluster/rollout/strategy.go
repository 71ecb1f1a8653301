package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kind of a Strategy.
type Kind string

// The kinds of Strategy.
const (
	// Rolling leaves it to the Deployment's own strategy.
	Rolling Kind = "rolling"
	// Canary sends a growing part of the traffic to the new version: by the number of its pods behind the Service, or
	// by the weights of an HTTPRoute where the manifests have one.
	Canary Kind = "canary"
	// BlueGreen starts the new version beside the old one and then turns the Service's selector.
	BlueGreen Kind = "blue-green"
)

// Strategy says how the pods of the new version replace those of the old one.
type Strategy struct {
	Kind Kind
	// Percent are a canary's stages, growing, each between 1 and 99. Default: 10, 50.
	Percent []int
	// Smoke are the requests that each stage must answer before the next one begins.
	Smoke []Smoke
	// Pause is how long a stage is watched before the next one begins.
	Pause time.Duration
	// Hold ends the deploy at the first stage, to be resumed or aborted later. A blue-green release holds with the new
	// version ready and the Service still turned to the old one.
	Hold bool
}

// Smoke is one HTTP request through the API server's proxy, so that no public address is needed.
type Smoke struct {
	Service string // default: the Service in front of the app
	Port    string // name or number; default: the Service's only or first port
	Path    string // default: "/"
	Status  int    // wanted; default: 200
	Body    string // must be contained in the answer; may be empty
}

// Check returns what is wrong with a strategy.
func (s *Strategy) Check() error {
	switch s.Kind {
	case "", Rolling, Canary, BlueGreen:
	default:
		return fmt.Errorf("there is no strategy %q: use %s, %s or %s", s.Kind, Rolling, Canary, BlueGreen)
	}
	if len(s.Percent) > 0 && s.Kind != Canary {
		return errors.New("stages in percent are for a canary release only")
	}
	if !slices.IsSorted(s.Percent) || slices.ContainsFunc(s.Percent, func(p int) bool { return p < 1 || p > 99 }) {
		return fmt.Errorf("the stages of a canary grow, and each is between 1 and 99 percent: not %v", s.Percent)
	}
	return nil
}

var defaultPercent = []int{10, 50}
