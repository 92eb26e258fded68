#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make this checkout runnable: a virtual environment, its PyPI packages, the lab's Debian packages; each only
# if missing, and named before it is installed. Nothing to do is quick and silent. Must not touch anything else.
#
#   tools/setup.sh python     .venv and PyPI packages: enough for lint, docs and the in-memory demo
#   tools/setup.sh all        the same, and what the lab needs of the system
#
# PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
scope=${1:?say python or all}

STAMP=.venv/.set-up
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where Debian keeps ip, nft and iptables, outside a user's PATH

# command or file | Debian package | why
LAB_NEEDS=(
    "ip|iproute2|network namespaces, bridges and cables of the lab's hosts"
    "unshare|util-linux|the lab's hosts: own mounts, name and processes"
    "nsenter|util-linux|commands inside the lab's hosts"
    "mount|mount|each host's private /etc, /run and /var"
    "ps|procps|ps, free and sysctl, with which the tests compare what agents say of a host"
    "iptables|iptables|the packet filter that the firewall feature drives"
    "nft|nftables|the other packet filter that it drives"
    "systemd-nspawn|systemd-container|the lab's hosts that systemd boots (nothing of the machine is registered there)"
    "/usr/lib/rabbitmq/bin/rabbitmq-server|rabbitmq-server|the lab's private broker (no service is started or enabled)"
    "/usr/share/perl/*/JSON/PP.pm|perl|the example of an external agent in Perl, which the tests run"
    "node|nodejs|the example of an external agent in JavaScript, which the tests run"
    "nrpe|nagios-nrpe-server|the real NRPE that the agent's checks are compared with (no service is started)"
    "/usr/lib/nagios/plugins/check_nrpe|nagios-nrpe-plugin|the question to it"
    "/usr/lib/nagios/plugins/check_load|monitoring-plugins-basic|the checks that both run"
    "haproxy|haproxy|the load balancer of the tests of its agent (no service is started)"
    "dnsmasq|dnsmasq-base|the name server of the tests of the agent dns"
    "ping|iputils-ping|the agent nettest, and its tests"
    "/usr/lib/postgresql/*/bin/initdb|postgresql|the private database of the registry's tests (no service is started)"
    "zsh|zsh|a shell whose completion the tests drive"
    "fish|fish|another one"
    "cron|cron|runs a job that the cron agent wrote, in a host of the lab (its service is not started)"
    "dnf|dnf|the package agent's tests install packages with it, below a temporary folder"
    "rpmbuild|rpm|builds the packages that dnf installs there"
    "createrepo_c|createrepo-c|makes the repository that dnf takes them from"
)

say() { printf '%s\n' "$*"; }
fail() {
    printf 'make setup: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate found=""
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is no command here"
        works "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer: $("$PYTHON" --version 2>&1 | sed '/./!d; q')"
        command -v "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        command -v "$candidate" >/dev/null || continue
        if works "$candidate"; then
            command -v "$candidate"
            return
        fi
        found+=" $(command -v "$candidate") is $("$candidate" --version 2>&1 | head -n 1);"
    done
    fail "Python 3.11 or newer is needed, and is not on PATH.${found:+ Seen:$found}" \
        "Install it (Debian 12 and newer, Ubuntu 24.04 and newer: apt-get install python3)," \
        "or name one: PYTHON=/path/to/python3.12 make setup"
}

missing_needs() { # of the system, as lines of package|why
    local need command
    [ "$scope" = all ] || return 0
    for need in "${LAB_NEEDS[@]}"; do
        command=${need%%|*}
        case $command in
            /*) compgen -G "$command" >/dev/null || say "${need#*|}" ;;
            *) command -v "$command" >/dev/null || say "${need#*|}" ;;
        esac
    done | sort -u -t '|' -k 1,1
}

has_venv() { [ -x .venv/bin/python ] && works .venv/bin/python; }

missing_venv_need() {
    has_venv && return
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    # Debian splits ensurepip off, one package for each version of its own interpreters.
    "$1" -c 'import sys; sys.exit(sys.base_prefix != "/usr")' ||
        fail "$1 cannot make virtual environments: its module ensurepip is missing." \
            "Repair that installation, or name another: PYTHON=/path/to/python3.12 make setup"
    "$1" -c 'import sys; print("python3.%d-venv|the virtual environment .venv" % sys.version_info[1])'
}

# Left behind by a run of tools/debian_packages.sh that was killed.
has_left_policy() { [ "$scope" = all ] && grep -qs "Put here by mco-behave" /usr/sbin/policy-rc.d; }

install_system_needs() { # lines of package|why -> 0 if nothing is missing any more
    local needs=$1 packages
    packages=$(cut -d '|' -f 1 <<<"$needs" | tr '\n' ' ')
    if ! command -v apt-get >/dev/null; then
        say "This is not Debian or Ubuntu, so what is missing here has to be installed by hand (Debian's package names):"
        sed 's/|/: /; s/^/  /' <<<"$needs"
        say "Without it: no lab, so no 'make demo' and no lab tests. '.venv/bin/mco demo --memory' needs none of it."
        return 0
    fi
    say "Debian packages to install:"
    sed 's/|/: /; s/^/  /' <<<"$needs"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        return 1
    fi
    # shellcheck disable=SC2086 # one word is one package
    tools/as_root.sh "$BASH" tools/debian_packages.sh $packages
}

# The strict editable install links every file of a package, so a file that came or went asks for it again.
package_files() {
    local folder folders=()
    for folder in */; do
        case $folder in
            build/ | dist/ | site/ | docs/ | tests/ | benchmarks/ | tools/ | changes/ | *.egg-info/) ;;
            *) folders+=("$folder") ;;
        esac
    done
    find "${folders[@]}" -name __pycache__ -prune -o -type f \
        \( -name '*.py' -o -name '*.feature' -o -name '*.yaml' -o -name py.typed \) -print | LC_ALL=C sort
}
dependencies() { cksum setup.cfg pyproject.toml tools/setup.sh; }
state() {
    dependencies
    package_files
}
linked() { compgen -G 'build/__editable__.*' >/dev/null; }
is_current() { [ -f "$STAMP" ] && [ -x .venv/bin/python ] && linked && is_at_home && state | cmp -s - "$STAMP"; }
is_at_home() { grep -qsF "$PWD/.venv/" .venv/bin/pip; } # scripts hold absolute paths: a moved checkout breaks them

# Errors only: with several package indexes pip warns about each package that one of them has not.
pip() { .venv/bin/python -m pip -qq --disable-pip-version-check --no-input "$@"; }

install_python_packages() {
    local python=$1 build_requires
    if [ -e .venv ] && ! [ -w .venv ]; then
        fail ".venv belongs to $(stat -c %U .venv), and you are $(id -un): remove it (as its owner), then run make again"
    fi
    if ! has_venv || ! is_at_home || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        say "Making .venv with $python ($("$python" --version))"
        "$python" -m venv --clear .venv || fail "the virtual environment could not be made, see above"
    fi
    if [ -f "$STAMP" ] && dependencies | cmp -s - <(head -n "$(dependencies | wc -l)" "$STAMP"); then
        say "Linking new files into .venv"
        pip install --no-deps --no-build-isolation --config-settings editable_mode=strict --editable .
    else
        say "Installing PyPI packages into .venv: what setup.cfg asks for, to run the project and to test, lint and document it"
        # Once here, setuptools is not fetched again for every build.
        build_requires=$(.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')
        # shellcheck disable=SC2086 # one word is one requirement
        pip install $build_requires &&
            pip install --use-pep517 --no-build-isolation --config-settings editable_mode=strict --editable '.[dev]'
    fi || fail "pip failed, see above. A mirror or a proxy is set as usual, with 'pip config' or PIP_INDEX_URL"
    # Compiled now and by this user: what sudo runs later writes nothing into the checkout.
    .venv/bin/python -m compileall -q build/__editable__.* || true
    state >"$STAMP"
}

needs=$(missing_needs)
if [ -z "$needs" ] && is_current && ! has_left_policy; then
    exit 0
fi

# Two makes at once wait for each other.
if command -v flock >/dev/null; then
    exec 9<tools
    flock 9
    needs=$(missing_needs)
fi

python=.venv/bin/python
if ! has_venv || ! is_at_home; then
    python=$(find_python)
    venv_need=$(missing_venv_need "$python")
    needs=$(printf '%s\n%s' "$venv_need" "$needs" | sed '/^$/d')
fi
is_complete=yes
if has_left_policy; then
    tools/as_root.sh "$BASH" tools/debian_packages.sh || true
fi
if [ -n "$needs" ]; then
    install_system_needs "$needs" || is_complete=no
fi
if ! is_current; then
    if [ "$is_complete" = no ] && [ -n "$(missing_venv_need "$python")" ]; then
        say "(.venv cannot be made before these are there.)"
    else
        install_python_packages "$python"
    fi
fi
if [ "$is_complete" = no ]; then
    fail "Debian packages are missing (listed above). As root, run:" \
        "apt-get update && apt-get install --no-install-recommends $(cut -d '|' -f 1 <<<"$needs" | tr '\n' ' ')" \
        "and run make again. '.venv/bin/mco demo --memory' needs none of them once .venv is made."
fi
