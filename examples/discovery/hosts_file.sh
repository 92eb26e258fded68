#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# External discovery: the names in a hosts file (/etc/hosts, or the one that is given), without those of this machine.
# It decides nothing of the filter: names are compared by mco, the rest is asked of the nodes.
set -eu
file=${1:-/etc/hosts}
test -r "$file" || { printf '{"error": "the hosts file cannot be read"}\n'; exit 0; }
awk '
    BEGIN { printf "{\"serves\": [], \"nodes\": [" }
    { sub(/#.*/, "") }
    NF > 1 && $1 !~ /^(127\.|::1$|f[ef]0)/ && $2 ~ /^[A-Za-z0-9][A-Za-z0-9_.-]*$/ {
        printf "%s\"%s\"", comma, $2
        comma = ", "
    }
    END { print "]}" }
' "$file"
