#!/usr/bin/env bash
# Prints the file .release, which makes action.yml take the programs of a release: a line for each architecture with the
# digest of its archive and where it is. action.sh URL SHA256SUMS
set -euo pipefail
sed -n "s|^\([0-9a-f]\{64\}\)  \(aksflow_.*_linux_\(.*\)\.tar\.gz\)\$|\3 \1 $1/\2|p" "$2" | grep .
