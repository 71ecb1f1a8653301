#!/usr/bin/env bash
# Delivers the sample app of this repository to the local platform, by push and by pull, votes in the running pods and
# shows what the page says. `make demo` calls it. It builds the programs that each part needs: Argo CD beside the delivery
# by push; beside Kubernetes, it builds and tests the sample's image.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MAKE:=make}" "${BIN:=$PWD/bin}" "${SUDO=}"
began=$SECONDS

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
needs() { "$MAKE" -s --no-print-directory "$@"; }
aksflow() { $SUDO env PATH="$BIN:$PATH" "$BIN/aksflow" "$@"; }

# start COMMAND …: runs it beside what follows, with less of the processors. It never outlives this script.
work=$(mktemp -d) started=
start() {
  setsid nice -n 10 "$@" >"$work/log" 2>&1 &
  started=$!
}
stop() {
  if [ -n "$started" ]; then
    $SUDO kill -TERM -- "-$started" 2>/dev/null || true
    wait "$started" || true
    started=
  fi
}
trap 'stop; $SUDO rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# vote ENVIRONMENT: three votes for Cats and one for Dogs through the gateway of the platform, then the page's results.
vote() {
  local host="vote.vote-$1.localhost"
  local url="http://localhost:$port/" curl=(curl --silent --show-error --fail --max-time 10 -H "Host: $host")
  "${curl[@]}" -o /dev/null --data vote=reset "$url"
  for choice in Cats Cats Dogs Cats; do
    "${curl[@]}" -o /dev/null --data "vote=$choice" "$url"
  done
  "${curl[@]}" "$url" | sed -n 's/.*id="results"[^>]*>\([^<]*\)<.*/\1/p'
}

title 'The programs: minutes the first time, kept for the next'
needs build-tools aksflow
if [ ! -x "$BIN/kubernetes" ]; then
  # The base image and the packages of the sample and its tests come from the network, which waits while Kubernetes compiles.
  # Not from here: the environments of aksflow.yaml need the cluster. If it fails, the delivery meets the same error and shows it.
  start bash -c '(cd / && $0 up registry) && $0 build --env local -o "$1" && $0 test --env local --image "$1"' "$SUDO $BIN/aksflow" "$work/vote.tar"
fi
needs push-tools
if [ -n "$started" ]; then wait "$started" || true; started=; fi

title '1. The platform: a registry, a git server and Kubernetes on this machine'
start "$MAKE" -s --no-print-directory pull-tools
aksflow up registry git kubernetes
port=$(aksflow up --output json registry 2>/dev/null | sed -n 's/^ *"apps": \([0-9]*\).*/\1/p')

title '2. Push: aksflow builds, tests and publishes, applies the manifests and watches the pods'
aksflow deliver --env local
pushed=$(vote local)
printf '\nIts page says: %s (%d s since the start)\n' "$pushed" "$((SECONDS - began))"

title '3. Pull: the same image; aksflow commits its digest, Argo CD rolls it out'
stop # what is compiled is kept; from here on the terminal shows how far it is
needs pull-tools
aksflow up
aksflow deliver --env local-argocd
pulled=$(vote local-argocd)

title 'Three votes for Cats and one for Dogs, counted by the running pods'
printf '  push   %s\n  pull   %s\n' "$pushed" "$pulled"
[ "$pushed" = 'Cats - 3 | Dogs - 1' ] && [ "$pulled" = "$pushed" ] || { echo 'the pages should say: Cats - 3 | Dogs - 1' >&2; exit 1; }

title "Where to look next (the demo took $((SECONDS - began)) s)"
cat <<END
  The pages                http://vote.vote-local.localhost:$port/  http://vote.vote-local-argocd.localhost:$port/
  What deliver would do    bin/aksflow plan --ref refs/heads/release/1.4.0
  Deliver a change         edit app/vote, then: bin/aksflow deliver --env local
  The way to AKS           README.md, aksflow.yaml
  Stop everything          make down
END
