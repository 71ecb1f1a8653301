# A newcomer needs two targets: `make demo` and `make test`. Both install and build what they need first.
# `make help` lists the rest.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# The Debian packages that the engine and the local platform use, and a compiler for the race detector.
PACKAGES := ca-certificates containerd containernetworking-plugins curl gcc git iproute2 iptables libc6-dev \
            mmdebstrap openssh-client redis-server runc

# The servers of the local platform and the tools of this repository, each from its own go.mod: name=directory:package.
TOOLS := kubernetes=tools/kubernetes:. \
         argocd=tools/argocd:github.com/argoproj/argo-cd/v3/cmd \
         buildkitd=tools/buildkit:github.com/moby/buildkit/cmd/buildkitd \
         buildctl=tools/buildkit:github.com/moby/buildkit/cmd/buildctl \
         registry=tools/registry:. \
         coredns=tools/coredns:. \
         pause=tools/pause:. \
         kustomize=tools/kustomize:sigs.k8s.io/kustomize/kustomize/v5 \
         source-controller=tools/flux:github.com/fluxcd/source-controller \
         kustomize-controller=tools/flux:github.com/fluxcd/kustomize-controller \
         staticcheck=tools/lint:honnef.co/go/tools/cmd/staticcheck \
         actionlint=tools/lint:github.com/rhysd/actionlint/cmd/actionlint \
         deadcode=tools/lint:golang.org/x/tools/cmd/deadcode
# Programs for tests only: a Gateway, a runner of workflows, and a printer of test results.
TEST_TOOLS := traefik=tools/traefik:github.com/traefik/traefik/v3/cmd/traefik \
              act=tools/act:github.com/nektos/act \
              gotestsum=tools/gotestsum:gotest.tools/gotestsum
# A program that a benchmark compares with.
BENCH_TOOLS := yq=tools/yq:github.com/mikefarah/yq/v4

# Modules below tools/ with Go code of their own; the others only name what to build.
TOOL_MODULES := tools/coredns tools/flux/artifact tools/kubernetes tools/pause tools/registry

# The import path of this module. Patterns that begin with it reach internal/core too, which is a module of its own:
# a pattern such as ./... ends at its go.mod.
MODULE := github.com/aksflow/aksflow

# Packages whose tests run under the race detector. The rest drive containers and a cluster from outside.
RACE := ./internal/azure/... ./internal/cli/... ./internal/flow/... ./internal/git/... ./internal/kube/... ./internal/kustomize/... ./internal/render/... ./internal/target/... \
        $(MODULE)/internal/core/...

# Tests have an engine and a platform of their own, beside those of a demo. The path is short: sockets stand below it.
TEST_STATE := $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/aksflow-test
TEST_ENV   := $(SUDO) env AKSFLOW_STATE=$(TEST_STATE) AKSFLOW_BIN=$(BIN) PATH="$(BIN):$$PATH"

# One way to compile for building, vetting and testing, so that each package is compiled once; the race detector needs cgo.
export CGO_ENABLED := 0

say = @printf '\033[36m==>\033[0m %s\n'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: packages tools aksflow ## install what the engine and the platform need, build the tools and aksflow itself

# The end of a recipe: installs the packages that the shell's variable missing holds.
INSTALL = if [ -n "$$missing" ]; then \
	  printf '\033[36m==>\033[0m installing from Debian: %s\n' "$$(echo $$missing)"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

.PHONY: packages
packages:
	@# dpkg-query fails when it has never heard of one of them.
	@missing=$$({ dpkg-query -W -f '$${Package} $${Status}\n' $(PACKAGES) 2>/dev/null || true; } | awk '/ install ok installed$$/ {print $$1}' \
	  | sort | comm -13 - <(printf '%s\n' $(PACKAGES) | sort)); \
	$(INSTALL)

# For tests only: Microsoft's own client judges the stand-in for Azure.
.PHONY: test-packages
test-packages:
	@missing=$$(command -v az >/dev/null || echo azure-cli); \
	$(INSTALL)

.PHONY: engine
engine: engine-packages $(BIN)/buildkitd $(BIN)/aksflow ## build aksflow and the embedded engine only, as the GitHub Action does

# By program, not by package: where Docker is, runc came with it, and Debian's own package would push Docker out.
.PHONY: engine-packages
engine-packages:
	@missing=$$(PATH="$$PATH:/usr/sbin:/sbin"; \
	  for program in runc iptables; do command -v $$program >/dev/null || echo $$program; done; \
	  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || [ -x /usr/libexec/cni/bridge ] || echo containernetworking-plugins); \
	$(INSTALL)

.PHONY: tools
tools: $(foreach t,$(TOOLS),$(BIN)/$(firstword $(subst =, ,$(t)))) $(BIN)/argocd-crds $(BIN)/flux-crds

# Kubernetes tells clients its version, which only the linker can say.
LDFLAGS_kubernetes := -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                      -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34

# One rule a tool. It is rebuilt when its module changes.
define tool
$(BIN)/$(1): $$(wildcard $(2)/go.mod $(2)/go.sum $(2)/*.go)
	$$(say) 'building $(1) (minutes the first time, seconds from the cache)'
	@cd $(2) && go build -ldflags '-s -w $(LDFLAGS_$(1))' -o $(BIN)/$(1) $(3)
endef
$(foreach t,$(TOOLS) $(TEST_TOOLS) $(BENCH_TOOLS),$(eval $(call tool,$(firstword $(subst =, ,$(t))),$(firstword $(subst :, ,$(lastword $(subst =, ,$(t))))),$(lastword $(subst :, ,$(t))))))

# The resource definitions of the operators, from the modules that their programs are built from.
$(BIN)/argocd-crds: tools/argocd/go.mod | $(BIN)/argocd
	@cd tools/argocd && install -D -m 644 -t $@ $$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)/manifests/crds/*-crd.yaml
	@touch $@

$(BIN)/flux-crds: tools/flux/go.mod | $(BIN)/source-controller $(BIN)/kustomize-controller
	@cd tools/flux && for dir in $$(go list -m -f '{{.Dir}}' github.com/fluxcd/source-controller github.com/fluxcd/kustomize-controller); do \
	  install -D -m 644 -t $@ $$dir/config/crd/bases/*.yaml; \
	done
	@touch $@

$(BIN)/gateway-crds: tools/traefik/go.mod | $(BIN)/traefik
	@cd tools/traefik && install -D -m 644 -t $@ $$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard/*.yaml
	@touch $@

.PHONY: aksflow
aksflow: $(BIN)/aksflow ## build bin/aksflow, with its shim and the local platform
	@go build -ldflags '-s -w' -o $(BIN)/aksflow-platform ./cmd/aksflow-platform

# What a delivery needs: the command, and the first process of the embedded engine's containers. Always built, because
# only the compiler knows whether a source has changed.
.PHONY: $(BIN)/aksflow
$(BIN)/aksflow:
	$(say) 'building aksflow'
	@go build -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/aksflow .
	@go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(BIN)/aksflow-shim ./internal/engine/embedded/shim

.PHONY: demo
demo: setup ## deliver the sample app to a real cluster: by push, then by pull with Argo CD
	@$(SUDO) env PATH="$(BIN):$$PATH" test/demo.sh

.PHONY: down
down: ## stop what the demo left running
	@$(SUDO) $(BIN)/aksflow down

# For tests whose names hold OnCluster, which need running pods: starts a cluster. The command that runs the tests follows.
ON_CLUSTER = $(TEST_ENV) $(BIN)/aksflow up --free-ports kubernetes >/dev/null; \
	registry=$$($(SUDO) sed -n 's/^ *"registry": "\(.*\)",*$$/\1/p' $(TEST_STATE)/platform/info.json); \
	$(TEST_ENV) AKSFLOW_TEST_KUBECONFIG=$(TEST_STATE)/platform/kubeconfig AKSFLOW_TEST_REGISTRY=$$registry

.PHONY: test
test: setup test-packages $(BIN)/gateway-crds $(BIN)/act $(BIN)/gotestsum lint ## every test there is, the end-to-end ones on a cluster of their own included
	@trap '$(SUDO) $(BIN)/aksflow down --state $(TEST_STATE) 2>/dev/null' EXIT; \
	printf '\033[36m==>\033[0m tests under the race detector\n'; \
	$(TEST_ENV) CGO_ENABLED=1 $(BIN)/gotestsum --format pkgname --hide-summary skipped -- -race $(RACE); \
	printf '\033[36m==>\033[0m rollouts that fail, strategies under load, a network that is cut: on a cluster\n'; \
	$(ON_CLUSTER) $(BIN)/gotestsum --format testname -- -count=1 -p 1 -parallel 6 -timeout 20m ./internal/kube/... ./internal/target/... -run OnCluster; \
	printf '\033[36m==>\033[0m tests with containers and a cluster\n'; \
	$(TEST_ENV) $(BIN)/gotestsum --format testname --hide-summary skipped -- -p 1 -timeout 40m $$(go list $(MODULE)/... | grep -vxF -f <(go list $(RACE)))

.PHONY: lint
lint: $(BIN)/staticcheck $(BIN)/actionlint $(BIN)/deadcode ## format, vet, staticcheck, dead code
	$(say) 'gofmt, go vet, staticcheck, deadcode'
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then printf 'gofmt -w these:\n%s\n' "$$unformatted"; exit 1; fi
	@go vet $(MODULE)/... && $(BIN)/staticcheck $(MODULE)/...
	@tools/lint/workspace.sh $(BIN)
	@# staticcheck does not look at tools/: to check those few lines it reads all of Kubernetes.
	@for module in $(TOOL_MODULES); do (cd $$module && go vet ./...); done
	@if ls .github/workflows/*.yml >/dev/null 2>&1; then $(BIN)/actionlint; fi

BENCHTIME ?= 1x
.PHONY: bench
bench: setup $(BIN)/yq ## the figures that the README quotes
	@trap '$(SUDO) $(BIN)/aksflow down --state $(TEST_STATE) 2>/dev/null' EXIT; \
	$(TEST_ENV) go test -p 1 -run '^$$' -bench . -benchtime $(BENCHTIME) $(MODULE) $(MODULE)/internal/...; \
	$(ON_CLUSTER) go test -count=1 -parallel 1 ./internal/target/cluster -run 'OnCluster(TimeToRed|Rollouts)' -v | \
	  sed -n -e '/what is wrong/,/^ *$$/p' -e 's/^ *rollouts_test.go:[0-9]*: //p'

.PHONY: clean
clean: ## stop the platform and remove what was built; caches of Go and of images stay
	@if [ -x $(BIN)/aksflow ]; then $(SUDO) $(BIN)/aksflow down; fi
	rm -rf $(BIN)
