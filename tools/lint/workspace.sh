#!/usr/bin/env bash
# The checks that need every module of the repository at once; call it from the repository's root with the directory of
# the tools:
#
#   - go vet and staticcheck of the Dagger module, which compiles only with generated code; test/module has a stand-in
#   - deadcode: functions that none of the programs can reach. Tests do not count.
set -euo pipefail
root=$PWD bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r ci "$work/ci"
rm -rf "$work/ci/internal" "$work/ci/dagger.gen.go"
cp -r test/module/testdata/standin/. "$work/ci"
cp staticcheck.conf "$work/ci"
(cd "$work/ci" && GOWORK=off go mod edit -dropreplace github.com/aksflow/aksflow/internal/core)
printf 'go %s\nuse (\n"%s"\n"%s"\n"%s"\n)\n' "$(sed -n 's/^go //p' go.mod)" "$root" "$root/internal/core" "$work/ci" >"$work/go.work"
export GOWORK=$work/go.work

# Dagger shows the module's comments to its users, so they do not begin with the Go name.
(cd "$work/ci" && go vet . && "$bin/staticcheck" -checks inherit,-ST1020,-ST1021,-ST1022 .)

found=$("$bin/deadcode" -filter '^github\.com/aksflow/aksflow(/|$)' . ./cmd/aksflow-platform ./internal/engine/embedded/shim "$work/ci")
found=$(grep -v '/ci/internal/\|/ci/dagger\.gen\.go' <<<"$found" || true)
if [ -n "$found" ]; then
  printf 'Only tests can call these: remove them, or move them into the tests.\n%s\n' "$found" >&2
  exit 1
fi
