// Package rbac holds the rights that a delivery needs in a cluster, as the files beside it say them.
package rbac

import _ "embed"

// Deployer is what `aksflow deploy` needs in a namespace: a ServiceAccount, the Role deployer and its RoleBinding.
//
//go:embed deployer.yaml
var Deployer string

// Wait is what `aksflow wait` needs: the ClusterRoles aksflow-wait-operator and aksflow-wait-app, bound in namespaces.
//
//go:embed wait.yaml
var Wait string
