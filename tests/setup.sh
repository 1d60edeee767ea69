#!/usr/bin/env bash
# Installs what some tests need beside the compiler, where it is missing: Chromium for the live page, Prometheus with
# promtool for metrics, alerts and dashboards. `make test` runs it. Without root, or on other systems, it only says what
# is missing; those tests are then skipped, unless ROADBED_REQUIRE_ALL=1.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Nothing is to run as a service: a test starts what it needs. RUNLEVEL=1 keeps Debian from starting it.
    { apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null || true
fi
for program in chromium promtool prometheus; do
    command -v "$program" >/dev/null || echo "missing for some tests: $program (Debian: chromium, prometheus)" >&2
done
