#!/usr/bin/env bash
# Delivers the sample app of this repository to the local platform, by push and by pull, votes in the running pods and
# shows what the page says. `make demo` calls it with aksflow on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }

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

title '1. The platform: a registry, a git server, Kubernetes and Argo CD on this machine'
aksflow up
port=$(aksflow up --output json 2>/dev/null | sed -n 's/^ *"apps": \([0-9]*\).*/\1/p')

title '2. Push: aksflow builds, tests and publishes, applies the manifests and watches the pods'
aksflow deliver --env local
pushed=$(vote local)

title '3. Pull: the same image; aksflow commits its digest, Argo CD rolls it out'
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
