// Package cluster deploys an app to a Kubernetes cluster and stays until it runs, or says why it does not and puts back
// what was there before.
//
// A release is one app in one namespace. Its objects are applied server-side as the field manager [kube.Manager], in
// parallel within stages whose order is that of [plan.Groups]. Objects that an earlier revision of the app applied and
// that left the manifests are pruned through an ApplySet (KEP-3659). Every revision is recorded in the cluster, so that
// any machine can go back to it. A Lease lets one deploy of an app run at a time.
//
// Package rollout, below, has canary and blue-green releases.
package cluster
