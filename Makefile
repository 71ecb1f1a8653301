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
# A delivery by push needs BUILD_TOOLS and PUSH_TOOLS, one by pull with Argo CD also PULL_TOOLS, one with Flux FLUX_TOOLS.
BUILD_TOOLS := registry=tools/registry:. \
               buildkitd=tools/buildkit:github.com/moby/buildkit/cmd/buildkitd
# What the embedded engine needs beside buildkitd where it runs without root.
ROOTLESS_TOOLS := rootlesskit=tools/rootlesskit:github.com/rootless-containers/rootlesskit/v3/cmd/rootlesskit
PUSH_TOOLS  := kubernetes=tools/platform:./kubernetes \
               coredns=tools/platform:./coredns \
               pause=tools/platform:./pause
PULL_TOOLS  := argocd=tools/gitops:./argocd \
               kustomize=tools/gitops:sigs.k8s.io/kustomize/kustomize/v5
# What no delivery needs: Argo CD's own API, which `aksflow up argocd-server` starts, and kubectl.
API_TOOLS   := argocd-server=tools/gitops:github.com/argoproj/argo-cd/v3/cmd \
               kubectl=tools/platform:k8s.io/kubernetes/cmd/kubectl
FLUX_TOOLS  := source-controller=tools/gitops:github.com/fluxcd/source-controller \
               kustomize-controller=tools/gitops:github.com/fluxcd/kustomize-controller
LINT_TOOLS  := staticcheck=tools/lint:honnef.co/go/tools/cmd/staticcheck \
               actionlint=tools/lint:github.com/rhysd/actionlint/cmd/actionlint \
               deadcode=tools/lint:golang.org/x/tools/cmd/deadcode \
               shallowvet=tools/lint:./shallowvet
# Programs for tests: a Gateway, what packs releases, a runner of workflows, and a printer of test results.
TEST_TOOLS  := traefik=tools/traefik:github.com/traefik/traefik/v3/cmd/traefik \
               release=tools/release:. \
               act=tools/act:github.com/nektos/act \
               gotestsum=tools/gotestsum:gotest.tools/gotestsum
# Programs that benchmarks compare with.
BENCH_TOOLS := buildctl=tools/buildkit:github.com/moby/buildkit/cmd/buildctl \
               yq=tools/yq:github.com/mikefarah/yq/v4
TOOLS       := $(BUILD_TOOLS) $(ROOTLESS_TOOLS) $(PUSH_TOOLS) $(PULL_TOOLS) $(API_TOOLS) $(FLUX_TOOLS) $(LINT_TOOLS) $(TEST_TOOLS) $(BENCH_TOOLS)
# The files of a list of tools.
files = $(foreach t,$(1),$(BIN)/$(firstword $(subst =, ,$(t))))

# Modules below tools/ with Go code of their own; the others only name what to build. For those with main packages of large
# servers, go vet and staticcheck would read all of these.
TOOL_MODULES   := tools/build tools/gitops/artifact tools/lint tools/registry tools/release
SERVER_MODULES := tools/gitops tools/platform

# The import path of this module. Patterns that begin with it reach internal/core too, which is a module of its own:
# a pattern such as ./... ends at its go.mod.
MODULE := github.com/aksflow/aksflow

# Packages whose tests run under the race detector. The rest drive containers and a cluster from outside.
RACE := ./internal/azure/... ./internal/cli/... ./internal/dev/... ./internal/flow/... ./internal/git/... ./internal/kube/... ./internal/kustomize/... ./internal/render/... ./internal/target/... \
        $(MODULE)/internal/core/...

# Tests have an engine and a platform of their own, beside those of a demo. The path is short: sockets stand below it.
TEST_STATE := $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/aksflow-test
# The end-to-end tests run beside the others, in a state of their own.
E2E_STATE  := $(TEST_STATE)-e2e
TEST_ENV   := $(SUDO) env AKSFLOW_STATE=$(TEST_STATE) AKSFLOW_E2E_STATE=$(E2E_STATE) AKSFLOW_BIN=$(BIN) PATH="$(BIN):$$PATH"
# The end of a test run: it leaves no process behind.
DOWN       := $(foreach state,$(TEST_STATE) $(E2E_STATE),$(SUDO) $(BIN)/aksflow down --state $(state) 2>/dev/null;)

# One way to compile for building, vetting and testing, so that each package is compiled once; the race detector needs cgo.
# The shim wants -trimpath, to be the same bytes on every machine. Debug information, which the linker leaves out of the
# programs, takes a tenth of the time of compiling. Kubernetes's libraries, most of which are generated, compile in a quarter
# less time without inlining, and wait for the network more than they compute; so do those that aksflow itself lacks.
WITHOUT_INLINING := k8s.io github.com/argoproj github.com/aws github.com/google/cel-go github.com/redis gitlab.com go.etcd.io/etcd
COMPILE := -trimpath -gcflags=all=-dwarf=false $(foreach path,$(WITHOUT_INLINING),'-gcflags=$(path)/...=-dwarf=false -l')
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out $(COMPILE),$(GOFLAGS)) $(COMPILE))

say = @printf '\033[36m==>\033[0m %s\n'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

# For tests only: Microsoft's own client judges the stand-in for Azure, and a user without root gets IDs for containers.
.PHONY: test-packages
test-packages:
	@missing=$$(command -v az >/dev/null || echo azure-cli; command -v newuidmap >/dev/null || echo uidmap); \
	$(INSTALL)

.PHONY: rootless
rootless: $(BIN)/buildkitd $(call files,$(ROOTLESS_TOOLS)) $(BIN)/aksflow ## build aksflow and the embedded engine for a user without root: docs/engine.md

.PHONY: engine
engine: engine-packages $(BIN)/buildkitd $(BIN)/aksflow ## build aksflow and the embedded engine only, as the GitHub Action does

# By program, not by package: where Docker is, runc came with it, and Debian's own package would push Docker out.
.PHONY: engine-packages
engine-packages:
	@missing=$$(PATH="$$PATH:/usr/sbin:/sbin"; \
	  for program in runc iptables; do command -v $$program >/dev/null || echo $$program; done; \
	  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || [ -x /usr/libexec/cni/bridge ] || echo containernetworking-plugins); \
	$(INSTALL)

.PHONY: tools build-tools push-tools pull-tools
tools: build-tools push-tools pull-tools $(call files,$(API_TOOLS)) $(call files,$(ROOTLESS_TOOLS)) $(call files,$(FLUX_TOOLS)) $(BIN)/flux-crds
build-tools: $(call files,$(BUILD_TOOLS))
push-tools: $(call files,$(PUSH_TOOLS))
pull-tools: $(call files,$(PULL_TOOLS)) $(BIN)/argocd-crds

# Kubernetes tells clients its version, which only the linker can say.
KUBERNETES         := $(shell awk '$$1 == "k8s.io/kubernetes" {print $$2}' tools/platform/go.mod)
LDFLAGS_kubernetes := -X k8s.io/component-base/version.gitVersion=$(KUBERNETES) \
                      -X k8s.io/component-base/version.gitMajor=1 \
                      -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES)))
LDFLAGS_kubectl    := $(LDFLAGS_kubernetes)

# The program that builds the others: one line for each, with the time that is left.
BUILD := $(BIN)/.build
$(BUILD): $(wildcard tools/build/*)
	@cd tools/build && go build -o $@ .

# One rule a tool. It is rebuilt when its module changes. exec, so that the end of make reaches it.
define tool
$(BIN)/$(1): $$(wildcard $(2)/go.mod $(2)/go.sum $(2)/*.go $(2)/$(3)/*.go $(2)/Dockerfile) | $$(BUILD)
	@exec $$(BUILD) -o $$@ -C $(2) -ldflags '-s -w $(LDFLAGS_$(1))' -all '$(TOOLS)' $(3)
endef
$(foreach t,$(TOOLS),$(eval $(call tool,$(firstword $(subst =, ,$(t))),$(firstword $(subst :, ,$(lastword $(subst =, ,$(t))))),$(lastword $(subst :, ,$(t))))))

# The resource definitions of the operators, from the modules that their programs are built from.
$(BIN)/argocd-crds: tools/gitops/go.mod | $(BIN)/argocd
	@cd tools/gitops && install -D -m 644 -t $@ $$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)/manifests/crds/*-crd.yaml
	@touch $@

$(BIN)/flux-crds: tools/gitops/go.mod | $(BIN)/source-controller $(BIN)/kustomize-controller
	@cd tools/gitops && for dir in $$(go list -m -f '{{.Dir}}' github.com/fluxcd/source-controller github.com/fluxcd/kustomize-controller); do \
	  install -D -m 644 -t $@ $$dir/config/crd/bases/*.yaml; \
	done
	@touch $@

$(BIN)/gateway-crds: tools/traefik/go.mod | $(BIN)/traefik
	@cd tools/traefik && install -D -m 644 -t $@ $$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard/*.yaml
	@touch $@

.PHONY: aksflow
aksflow: $(BIN)/aksflow $(BIN)/aksflow-platform ## build bin/aksflow, with its shim and the local platform

# What a delivery needs: the command, and the first process of the embedded engine's containers. Always built, because
# only the compiler knows whether a source has changed.
.PHONY: $(BIN)/aksflow $(BIN)/aksflow-platform
$(BIN)/aksflow: | $(BUILD)
	@$(BUILD) -o $@ -ldflags '-s -w -X main.version=$(VERSION)' .
	@GOFLAGS="$$GOFLAGS -buildvcs=false" exec $(BUILD) -o $@-shim ./internal/engine/embedded/shim

$(BIN)/aksflow-platform: | $(BUILD)
	@exec $(BUILD) -o $@ ./cmd/aksflow-platform

# A recipe that names the variable MAKE itself is run by `make -n`, too.
SELF := $(MAKE)

# The script builds what each of its parts needs, and Argo CD beside the delivery by push.
.PHONY: demo
demo: packages ## deliver the sample app to a real cluster: by push, then by pull with Argo CD
	@MAKE='$(SELF)' BIN='$(BIN)' SUDO='$(SUDO)' exec test/demo.sh

.PHONY: down
down: ## stop what the demo left running
	@$(SUDO) $(BIN)/aksflow down

# For tests whose names hold OnCluster, which need running pods: starts a cluster. The command that runs the tests follows.
ON_CLUSTER = $(TEST_ENV) $(BIN)/aksflow up --free-ports kubernetes >/dev/null; \
	registry=$$($(SUDO) sed -n 's/^ *"registry": "\(.*\)",*$$/\1/p' $(TEST_STATE)/platform/info.json); \
	$(TEST_ENV) AKSFLOW_TEST_KUBECONFIG=$(TEST_STATE)/platform/kubeconfig AKSFLOW_TEST_REGISTRY=$$registry

# Go's own linker makes the binaries for the race detector: with cgo and the package plugin, which kustomize imports, it would
# be C's linker, which takes half as long again.
# Of the last tests one package runs at a time in each of two state directories, because they share the engine in it. The
# next ones are compiled meanwhile. The end-to-end tests come first, since they take the longest.
.PHONY: test
test: setup test-packages $(call files,$(TEST_TOOLS)) $(BIN)/gateway-crds lint ## every test there is, the end-to-end ones on a cluster of their own included
	@trap '$(DOWN)' EXIT; \
	printf '\033[36m==>\033[0m tests under the race detector\n'; \
	$(TEST_ENV) CGO_ENABLED=1 $(BIN)/gotestsum --format pkgname --hide-summary skipped -- -race -ldflags=-linkmode=internal -parallel 4 $(RACE); \
	printf '\033[36m==>\033[0m rollouts that fail, strategies under load, a network that is cut: on a cluster\n'; \
	$(ON_CLUSTER) $(BIN)/gotestsum --format testname -- -count=1 -p 1 -parallel 4 -timeout 20m ./internal/target/cluster -run OnCluster; \
	$(SUDO) $(BIN)/aksflow down --state $(TEST_STATE) 2>/dev/null; \
	printf '\033[36m==>\033[0m tests with containers and a cluster\n'; \
	$(TEST_ENV) $(BIN)/gotestsum --format testname --hide-summary skipped -- -p 4 -exec $(CURDIR)/test/alone.sh -timeout 55m \
	  $(MODULE)/test/e2e $$(go list $(MODULE)/... | grep -vxF -e $(MODULE)/test/e2e -f <(go list $(RACE)))

.PHONY: lint
lint: $(call files,$(LINT_TOOLS)) ## format, vet, staticcheck, dead code, generated files
	$(say) 'gofmt, go vet, staticcheck, deadcode, the schema'
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then printf 'gofmt -w these:\n%s\n' "$$unformatted"; exit 1; fi
	@go vet $(MODULE)/... && $(BIN)/staticcheck $(MODULE)/...
	@go test $(MODULE)/schema
	@tools/lint/workspace.sh $(BIN)
	@for module in $(TOOL_MODULES); do (cd $$module && go vet ./...); done
	@for module in $(SERVER_MODULES); do (cd $$module && $(BIN)/shallowvet ./...); done
	@if ls .github/workflows/*.yml >/dev/null 2>&1; then $(BIN)/actionlint; fi

# The image holds the command alone. `aksflow publish --image` pushes it.
.PHONY: release
release: $(BIN)/release $(BIN)/aksflow $(BIN)/buildkitd engine-packages ## dist/: what RELEASE=v1.2.3 consists of, for amd64 and arm64
	@[ -n "$(RELEASE)" ] || { echo 'name the version: make release RELEASE=v1.2.3' >&2; exit 2; }
	@[ -z "$$(git status --porcelain)" ] || { echo 'a release is made of what is committed; these are not:' >&2; git status --short >&2; exit 2; }
	@$(BIN)/release -version '$(RELEASE)' -commit "$$(git rev-parse HEAD)" -time "$$(git log -1 --format=%ct)" -run '$(RUN_URL)' -out dist \
	  -aksflow "$(SUDO) env PATH=$(BIN):$$PATH $(BIN)/aksflow" amd64 arm64

BENCHTIME ?= 1x
.PHONY: bench
bench: setup $(call files,$(BENCH_TOOLS)) ## the figures that the README quotes
	@trap '$(DOWN)' EXIT; \
	$(TEST_ENV) go test -p 1 -run '^$$' -bench . -benchtime $(BENCHTIME) $(MODULE) $(MODULE)/internal/...; \
	$(TEST_ENV) go test -count=1 -exec $(CURDIR)/test/alone.sh $(MODULE)/test/e2e -run '(BuiltOnce|Dev)$$' -v | \
	  sed -n -e 's/^ *once_test.go:[0-9]*: //p' -e 's/^ *dev_test.go:[0-9]*: \(the new page came.*\)/\1/p'; \
	$(ON_CLUSTER) go test -count=1 -parallel 1 ./internal/target/cluster -run 'OnCluster(TimeToRed|Rollouts)' -v | \
	  sed -n -e '/what is wrong/,/^---/{/^---/!p}' -e 's/^ *rollouts_test.go:[0-9]*: \(.* after [0-9.]* s\)/\1/p'

# Debian's Chromium and a font: some 400 MB, which `make test` does without. Its tests read the pages as a browser does.
SCREENSHOT_PACKAGES := chromium fonts-dejavu-core
.PHONY: screenshots
screenshots: ## pictures of the report in bin/screenshots, as phone and desktop, light and dark show it
	@missing=$$(command -v chromium >/dev/null || echo $(SCREENSHOT_PACKAGES)); \
	$(INSTALL)
	@go test -count=1 -tags screenshots -run Screenshots ./internal/page

.PHONY: clean
clean: ## stop the platform and remove what was built; caches of Go and of images stay
	@if [ -x $(BIN)/aksflow ]; then $(SUDO) $(BIN)/aksflow down; fi
	rm -rf $(BIN)
