#!/usr/bin/env bash
# Lists functions that none of the programs can reach, and fails if there are any: deadcode.sh DEADCODE, from the
# repository's root. Tests do not count. The programs are the commands and the Dagger module, which is compiled with the
# stand-in for Dagger's generated code that test/module has.
set -euo pipefail
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r ci "$work/ci"
rm -rf "$work/ci/internal" "$work/ci/dagger.gen.go"
cp -r test/module/testdata/standin/. "$work/ci"
(cd "$work/ci" && GOWORK=off go mod edit -dropreplace github.com/aksflow/aksflow/internal/core)
# A workspace, so that one analysis sees all modules.
printf 'go %s\nuse (\n"%s"\n"%s"\n"%s"\n)\n' "$(sed -n 's/^go //p' go.mod)" "$root" "$root/internal/core" "$work/ci" >"$work/go.work"

found=$(GOWORK=$work/go.work "$1" -filter '^github\.com/aksflow/aksflow(/|$)' \
  . ./cmd/aksflow-platform ./internal/engine/embedded/shim "$work/ci" | grep -v "^$work\|/ci/" || true)
if [ -n "$found" ]; then
  printf 'Nothing but tests can call these; remove them, or move them into the tests:\n%s\n' "$found" >&2
  exit 1
fi
