#!/usr/bin/env bash
# Runs the tests of a package when no others run in their state directory: for go test -exec, in the package's directory. The
# end-to-end tests have a directory of their own, so that they run beside the others.
set -euo pipefail
case $PWD in
  */test/e2e) AKSFLOW_STATE=$AKSFLOW_E2E_STATE ;;
esac
export AKSFLOW_STATE
exec flock "$AKSFLOW_STATE.lock" "$@"
