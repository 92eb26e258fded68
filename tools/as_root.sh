#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run a command as root: directly, or through sudo. Must not decide what needs root; its callers do.
#
#   tools/as_root.sh COMMAND [ARGUMENT...]        the exit status is the command's
set -euo pipefail

if [ "$(id -u)" -eq 0 ]; then
    exec "$@"
fi
if ! command -v sudo >/dev/null; then
    {
        echo "This needs root (network namespaces, packet filters, Debian packages), you are $(id -un) and there is no sudo."
        printf 'Run as root, in %s:\n   ' "$PWD"
        printf ' %q' "$@"
        echo
    } >&2
    exit 1
fi

# sudo forgets the environment. What steers the command goes with it; byte code does not, so that no file of
# root's appears in the user's checkout.
kept=(PYTHONDONTWRITEBYTECODE=1)
while IFS= read -r name; do
    kept+=("$name=${!name}")
done < <(compgen -e | grep -E '^(MCO_.*|COVERAGE_FILE|HYPOTHESIS_STORAGE_DIRECTORY|CI|NO_COLOR|FORCE_COLOR|COLORTERM|(https?|no|HTTPS?|NO|all|ALL)_(proxy|PROXY))$')
exec sudo -- env "${kept[@]}" "$@"
