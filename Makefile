# Two targets are all a newcomer needs: `make demo` and `make test`. Both set up what they need first.
# `make help` lists the rest.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What the engine and the local platform use of Debian; a compiler for the race detector.
PACKAGES := ca-certificates containerd containernetworking-plugins etcd-server gcc git iproute2 iptables libc6-dev \
            mmdebstrap redis-server runc

# The servers of the local platform and the tools of this repository, each from its own go.mod: name=directory:package.
TOOLS := buildkitd=tools/buildkit:github.com/moby/buildkit/cmd/buildkitd \
         buildctl=tools/buildkit:github.com/moby/buildkit/cmd/buildctl \
         kubernetes=tools/kubernetes:. \
         argocd=tools/argocd:github.com/argoproj/argo-cd/v3/cmd \
         staticcheck=tools/lint:honnef.co/go/tools/cmd/staticcheck \
         actionlint=tools/lint:github.com/rhysd/actionlint/cmd/actionlint

# Every Go module of this repository, and the one that needs Dagger's generated code beside it.
MODULES := . $(sort $(patsubst %/go.mod,%,$(wildcard tools/*/go.mod)))

say = @printf '\033[36m==>\033[0m %s\n'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: packages tools aksflow ## install what the engine and the platform need, build the tools and aksflow itself

.PHONY: packages
packages:
	@missing=$$(dpkg-query -W -f '$${Package} $${Status}\n' $(PACKAGES) 2>/dev/null | awk '/ install ok installed$$/ {print $$1}' \
	  | sort | comm -13 - <(printf '%s\n' $(PACKAGES) | sort)); \
	if [ -n "$$missing" ]; then \
	  printf '\033[36m==>\033[0m installing from Debian: %s\n' "$$(echo $$missing)"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

.PHONY: tools
tools: $(foreach t,$(TOOLS),$(BIN)/$(firstword $(subst =, ,$(t))))

# One rule a tool. It is rebuilt when its module changes.
define tool
$(BIN)/$(1): $$(wildcard $(2)/go.mod $(2)/go.sum $(2)/*.go)
	$$(say) 'building $(1) (minutes the first time, seconds from the cache)'
	@cd $(2) && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $(BIN)/$(1) $(3)
endef
$(foreach t,$(TOOLS),$(eval $(call tool,$(firstword $(subst =, ,$(t))),$(firstword $(subst :, ,$(lastword $(subst =, ,$(t))))),$(lastword $(subst :, ,$(t))))))

.PHONY: aksflow
aksflow: ## build bin/aksflow
	@CGO_ENABLED=0 go build -ldflags '-X main.version=$(VERSION)' -o $(BIN)/aksflow .
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $(BIN)/aksflow-shim ./internal/engine/shim
