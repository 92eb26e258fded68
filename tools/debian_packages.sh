#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install Debian packages, as root, so that no service of theirs starts, and no broker at the next boot either. Must
# not change or remove anything that is installed already.
#
#   tools/debian_packages.sh PACKAGE...     without a package: only tidy up after a run that was killed
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 NEEDRESTART_SUSPEND=1
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK="Put here by mco-behave while it installs packages" # tools/setup.sh looks for it, too
# A broker, its name service, a database, cron, NRPE and a load balancer, which are started privately and which the host
# did not ask for.
UNITS=(rabbitmq-server.service epmd.service epmd.socket postgresql.service cron.service
    nagios-nrpe-server.service haproxy.service)
LOCK_TRIES=60

log=$(mktemp)
has_our_policy=no
new_units=()
clean_up() { # also after a failure half-way, and when interrupted
    local unit
    for unit in "${new_units[@]}"; do
        ! has_unit "$unit" || silence "$unit" >/dev/null 2>&1 ||
            echo "The unit $unit, installed just now, could not be disabled: see 'systemctl status $unit'" >&2
    done
    [ "$has_our_policy" = no ] || rm -f "$POLICY"
    rm -f "$log"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

apt() { # shows only that it waits for another package tool; the rest is kept for the case of a failure
    apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" </dev/null 2>&1 8<&- |
        tee "$log" | sed -u -n '/^Waiting/ {p; :rest; n; b rest}'
}

update() {
    local try
    for ((try = 1; ; try++)); do
        apt update && return
        # The lock on the lists is not covered by apt's own waiting.
        if ! grep -q 'Could not get lock' "$log" || [ "$try" -ge "$LOCK_TRIES" ]; then
            echo "apt-get update failed; going on with the package lists that are here:"
            sed 's/^/    /' "$log"
            return
        fi
        [ "$try" -gt 1 ] || echo "Another package tool is at work; waiting for it"
        sleep 5
    done
}

is_known() { [ "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -vc '^(none)$')" -gt 0 ]; }
has_unit() { [ -e "/lib/systemd/system/$1" ] || [ -e "/usr/lib/systemd/system/$1" ]; }

forbid_service_starts() {
    if [ -e "$POLICY" ] && ! grep -qs "$POLICY_MARK" "$POLICY"; then
        return # the administrator's own policy decides; whatever starts all the same is stopped below
    fi
    has_our_policy=yes
    cat >"$POLICY" <<END
#!/bin/sh
# $POLICY_MARK; it may be removed.
# units: ${new_units[*]}
case " \$* " in
    *" start "*|*" (start) "*|*rabbitmq-server*|*epmd*|*postgresql*|*nagios-nrpe*|*haproxy*) exit 101 ;; # not allowed; restarts of what was there before are
esac
exit 0
END
    chmod 755 "$POLICY"
}

silence() { # a unit that this run installed: not at the next boot and, if it was started all the same, not now
    local name=${1%.*}
    if command -v systemctl >/dev/null; then
        systemctl --quiet disable "$1" || return
        [ ! -d /run/systemd/system ] || systemctl --quiet stop "$1" || return
    else
        rm -f "/etc/systemd/system/"*.wants/"$1"
    fi
    if [ -x "/etc/init.d/$name" ]; then
        update-rc.d "$name" disable || return
    fi
    # Without systemd nothing else stops what the administrator's own policy let start.
    if [ ! -d /run/systemd/system ] && [ "$has_our_policy" = no ]; then
        case $1 in
            rabbitmq-server.service) /etc/init.d/rabbitmq-server stop ;;
            epmd.service) epmd -kill ;;
        esac
    fi
}

# One run at a time: the next would take our policy for one that was left behind.
exec 8</usr/sbin
flock 8

if grep -qs "$POLICY_MARK" "$POLICY"; then # left by a run that was killed; so were the units it named
    read -r -a new_units <<<"$(sed -n 's/^# units: //p' "$POLICY")"
fi
for unit in "${UNITS[@]}"; do
    has_unit "$unit" || [[ " ${new_units[*]} " == *" $unit "* ]] || new_units+=("$unit")
done
forbid_service_starts
[ $# -gt 0 ] || exit 0

is_updated=no
for package in "$@"; do
    if ! is_known "$package"; then
        echo "Updating the package lists (apt-get update)"
        update
        is_updated=yes
        break
    fi
done

install_all() { apt --no-install-recommends --no-remove install "$@"; }

status=0
echo "Installing (apt-get install)"
install_all "$@" || status=$?
if [ "$status" -ne 0 ] && [ "$is_updated" = no ]; then
    echo "That failed, perhaps because the package lists are old: updating them and trying again"
    update
    status=0
    install_all "$@" || status=$?
fi
if [ "$status" -ne 0 ]; then
    {
        echo "apt-get install failed with exit status $status for: $*"
        tail -n 40 "$log" | sed 's/^/    /'
    } >&2
    exit 1
fi
