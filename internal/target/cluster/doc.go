// Package cluster brings objects into a Kubernetes cluster and stays until they run, or says why they do not and puts
// back what was there.
//
// A delivery is one app in one namespace. Its objects are applied server-side as the field manager [Manager], in
// parallel within groups whose order is that of [plan.Groups]; what an earlier revision of the same delivery applied
// and this one lacks is pruned through an ApplySet (KEP-3659); every revision is recorded in the cluster, so that any
// machine can go back to it; a Lease lets one deploy of an app run at a time.
//
// What is decided stands apart from what is done. The packages below this one are pure: plan (order, validation, what
// is up to date), diff (what a change looks like), status (ready, waiting, or failed and why). Only this package talks
// to the API server, and only apply.go, of this package, changes an object of the delivery.
package cluster
