package deploy

import (
	"fmt"
	"slices"
)

// check says what is wrong with a strategy.
func (s *Strategy) check() error {
	switch s.Kind {
	case "", Rolling, Canary, BlueGreen:
	default:
		return fmt.Errorf("there is no strategy %q: use %s, %s or %s", s.Kind, Rolling, Canary, BlueGreen)
	}
	if len(s.Percent) > 0 && s.Kind != Canary {
		return fmt.Errorf("stages in percent are for a canary release, and this is a %s one", s.Kind)
	}
	if !slices.IsSorted(s.Percent) || slices.ContainsFunc(s.Percent, func(p int) bool { return p < 1 || p > 99 }) {
		return fmt.Errorf("the stages of a canary grow, and each is between 1 and 99 percent: %v", s.Percent)
	}
	return nil
}
