// Package kube is the only door to a Kubernetes cluster: it connects, retries, explains what the API server refuses,
// applies objects server-side, reads live state, locks, and keeps the history of an app's revisions.
//
// Below it, plan, diff and status are pure: they decide without a network. Package watch follows objects until they are
// ready, and judges the reasons why they are not.
package kube

// Manager is the field manager of everything that is applied through this package.
const Manager = "aksflow"

// AnnotationPrefix begins every annotation and label of aksflow.
const AnnotationPrefix = "aksflow.dev/"
