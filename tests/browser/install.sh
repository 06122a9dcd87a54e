#!/usr/bin/env bash
# Chromium for the browser tests, from the system's own packages. Where it cannot be had, says why; never fails.
set -uo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done

cannot() { echo "no browser tests: $1"; exit 0; }

command -v apt-get >/dev/null || cannot "this system has no apt-get; install chromium by its own means"
if [[ $(id -u) -eq 0 ]]; then as_root=()
elif sudo -n true 2>/dev/null; then as_root=(sudo -n)
else cannot "installing chromium needs root, or sudo without a password"
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq >/dev/null 2>&1 || cannot "apt-get update failed"
"${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 || cannot "apt-get install chromium failed"
command -v chromium >/dev/null || cannot "chromium was installed, but is not on the path"
echo "installed $(chromium --version 2>/dev/null)"
