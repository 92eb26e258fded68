#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything this agent needs of the request is in variables, so it reads no JSON; its answers hold numbers only,
# so it needs no quoting either.
set -eu

fail() { # what went wrong, as a sentence without quotes
    printf '{"status": 1, "message": "%s"}\n' "$1"
    exit 0
}

path=$MCO_INPUT_path
[ -d "$path" ] || fail "there is no such folder on this node"

case $MCO_CALL_ACTION in
    usage)
        echo "counting" >&2 # shown to who follows
        size_kib=$(du -skx -- "$path")
        files=$(find "$path" -xdev -type f -printf x) # one letter for each
        printf '{"data": {"size_bytes": %d, "files": %d}}\n' "$((${size_kib%%[!0-9]*} * 1024))" "${#files}"
        ;;
    tidy)
        days=$MCO_INPUT_days
        [ "$days" -ge 0 ] || fail "days cannot be negative"
        before=$(find "$path" -xdev -type f -mtime +"$days" -printf x)
        if [ "$MCO_CALL_NOOP" = false ]; then
            find "$path" -xdev -type f -mtime +"$days" -delete
        fi
        after=$(find "$path" -xdev -type f -mtime +"$days" -printf x)
        changed=$([ -n "$before" ] && echo true || echo false)
        printf '{"data": {"changed": %s, "before": %d, "after": %d}}\n' "$changed" "${#before}" "${#after}"
        ;;
esac
