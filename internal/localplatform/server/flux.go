//go:build linux

package server

import (
	"context"
	_ "embed"
	"fmt"
	"os"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/controlplane"
	"github.com/aksflow/aksflow/internal/localplatform/process"
)

const fluxNamespace = "flux-system"

// Ports inside the namespaces.
const (
	fluxArtifactsPort, fluxSourceMetricsPort, fluxSourceHealthPort = 9790, 9791, 9792
	fluxKustomizeMetricsPort, fluxKustomizeHealthPort              = 9793, 9794
)

const fluxObjectsTask = "flux objects"

// fluxObjects are Flux's own objects.
//
//go:embed flux.yaml
var fluxObjects []byte

// flux returns the tasks that start Flux's source controller and kustomize controller, beside the cluster like Argo CD.
func (s *supervisor) flux() ([]task, error) {
	definitions, err := s.definitions("Flux", "source-controller", "flux-crds", "*.yaml")
	if err != nil {
		return nil, err
	}
	artifacts := s.State.run("flux", "artifacts")
	if err := os.MkdirAll(artifacts, 0o700); err != nil {
		return nil, fmt.Errorf("starting Flux: %w", err)
	}
	controller := func(name string, metrics, health int, args ...string) task {
		return s.serve(process.Spec{
			Name: name, Path: s.Programs[name],
			Args: append([]string{
				"--log-level=info", "--events-addr=",
				fmt.Sprintf("--metrics-addr=127.0.0.1:%d", metrics), fmt.Sprintf("--health-addr=127.0.0.1:%d", health),
			}, args...),
			Env:   []string{"KUBECONFIG=" + s.controlPlane().Admin(), "RUNTIME_NAMESPACE=" + fluxNamespace},
			Ready: controlplane.Answers(plainClient, fmt.Sprintf("http://127.0.0.1:%d/readyz", health)),
		}, fluxObjectsTask)
	}
	address := fmt.Sprintf("127.0.0.1:%d", fluxArtifactsPort)
	return []task{
		{name: fluxObjectsTask, after: []string{apiTask}, quiet: true, run: func(ctx context.Context) error {
			return s.create(ctx, append(definitions, fluxObjects))
		}},
		controller("source-controller", fluxSourceMetricsPort, fluxSourceHealthPort,
			"--storage-path="+artifacts, "--storage-addr="+address, "--storage-adv-addr="+address),
		controller("kustomize-controller", fluxKustomizeMetricsPort, fluxKustomizeHealthPort),
		{name: string(localplatform.Flux), after: []string{"source-controller", "kustomize-controller"}, run: func(context.Context) error { return nil }},
	}, nil
}
