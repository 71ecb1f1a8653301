package flow

import (
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

// namedTarget is a target under the name that aksflow.yaml calls it by.
type namedTarget struct {
	name string
	target.Target
}

// targets returns the ways to an environment; the first is that of flags without an aksflow.yaml. A new one is a package
// below internal/target, its section in package config, and a line here.
func targets() []namedTarget {
	return []namedTarget{
		{config.Push, cluster.Target{}},
		{config.Pull, gitops.Target{Apply: cluster.Apply}},
	}
}
