package config

import (
	"slices"
	"strconv"
	"strings"
)

// check finds what no rollout can do.
func (r Rollout) check(k *checker, field func(...any) []any) {
	k.oneOf(field("rollout", "strategy"), r.Strategy, Rolling, Canary, BlueGreen)
	before := 0
	for i, percent := range r.Percent {
		if percent < max(before, 1) || percent > 99 {
			k.errorf(field("rollout", "percent", i), "%d: the stages of a canary grow, and each is between 1 and 99", percent)
		}
		before = max(before, percent)
	}
	k.positive(r.Pause, field("rollout", "pause")...)
	for i, smoke := range r.Smoke {
		smoke.check(k, field("rollout", "smoke", i))
	}
}

func (s Smoke) check(k *checker, at []any) {
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") {
		k.errorf(slices.Concat(at, []any{"path"}), "%q: want a path that begins with /: the request goes to the Service", s.Path)
	}
	if s.Status != 0 && (s.Status < 100 || s.Status > 599) {
		k.errorf(slices.Concat(at, []any{"status"}), "%d: want a status of HTTP, 100 to 599", s.Status)
	}
	if port, err := strconv.Atoi(s.Port); err == nil {
		k.port(port, slices.Concat(at, []any{"port"})...)
	}
}
