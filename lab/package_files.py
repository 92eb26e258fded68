# SPDX-License-Identifier: Apache-2.0
"""What is inside the packages of a lab: a document, a configuration file and, if wanted, a service that does nothing.

Only text; builds and runs nothing.
"""

from __future__ import annotations

from .spec import PackageSpec


def files_of(package: PackageSpec) -> dict[str, str]:
    """Return the files of a package, path -> text; what begins with ``#!`` is to be executable."""
    name, version = package.name, package.version
    files = {
        "DEBIAN/control": _control(package),
        "DEBIAN/conffiles": f"/etc/{name}.conf\n",
        f"etc/{name}.conf": f"# {name} is configured here\n",
        f"usr/share/{name}/version": f"{version}\n",
    }
    if package.service:
        scripts = {
            "DEBIAN/postinst": _POSTINST,
            "DEBIAN/prerm": _PRERM,
            "DEBIAN/postrm": _POSTRM,
            f"usr/lib/{name}/{name}": _DAEMON,
            f"usr/lib/systemd/system/{name}.service": _UNIT,
            f"etc/init.d/{name}": _INIT,
        }
        files |= {path: text.replace("NAME", name).replace("VERSION", version) for path, text in scripts.items()}
        files["DEBIAN/conffiles"] += f"/etc/init.d/{name}\n"
    return files


def _control(package: PackageSpec) -> str:
    lines = [
        f"Package: {package.name}",
        f"Version: {package.version}",
        "Architecture: all",
        "Maintainer: The lab <lab@localhost>",
        "Section: misc",
        "Priority: optional",
        f"Depends: {', '.join(package.depends)}",
        f"Description: {'a service that does nothing' if package.service else 'a file that says its version'}",
    ]
    return "".join(f"{line}\n" for line in lines if not line.endswith(": "))


_DAEMON = """#!/usr/bin/env -S --default-signal=HUP /bin/sh
# (apt ignores the signal, and what it starts would, too.)
# Does nothing, for ever; writes down which version runs and how often it was told to read its configuration again.
reloads=0
say() { echo "version=VERSION reloads=$reloads" >/run/NAME.state; }
trap 'reloads=$((reloads + 1)); say' HUP
trap 'kill "$child" 2>/dev/null; rm -f /run/NAME.state; exit 0' TERM INT
say
while :; do
    sleep 1000 &
    child=$!
    wait "$child"
    kill "$child" 2>/dev/null
done
"""

_UNIT = """[Unit]
Description=NAME, which does nothing

[Service]
ExecStart=/usr/lib/NAME/NAME
ExecReload=/bin/kill -HUP $MAINPID

[Install]
WantedBy=multi-user.target
"""

_INIT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          NAME
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: NAME, which does nothing
### END INIT INFO
pidfile=/run/NAME.pid
daemon=/usr/lib/NAME/NAME

runs() { start-stop-daemon --status --pidfile "$pidfile"; }
start() { runs || start-stop-daemon --start --quiet --background --make-pidfile --pidfile "$pidfile" --exec "$daemon"; }
stop() { start-stop-daemon --stop --quiet --oknodo --retry TERM/5/KILL/5 --remove-pidfile --pidfile "$pidfile"; }

case "$1" in
start | stop) "$1" ;;
restart | force-reload) stop && start ;;
reload) start-stop-daemon --stop --quiet --signal HUP --pidfile "$pidfile" ;;
status)
    runs
    status=$?
    [ $status -eq 0 ] && echo "NAME is running" || echo "NAME is not running"
    exit $status
    ;;
*)
    echo "usage: $0 start|stop|restart|force-reload|reload|status" >&2
    exit 2
    ;;
esac
"""

_POSTINST = """#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
verb=start
[ -z "$2" ] || verb=restart
update-rc.d NAME defaults >/dev/null
if [ -d /run/systemd/system ]; then
    deb-systemd-helper enable NAME.service >/dev/null
    systemctl daemon-reload
    deb-systemd-invoke "$verb" NAME.service >/dev/null
else
    /etc/init.d/NAME "$verb" # invoke-rc.d starts nothing where nobody knows the runlevel
fi
"""

_PRERM = """#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
if [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop NAME.service >/dev/null
else
    /etc/init.d/NAME stop
fi
"""

_POSTRM = """#!/bin/sh
set -e
[ "$1" != purge ] || update-rc.d NAME remove >/dev/null
if [ -d /run/systemd/system ]; then
    [ "$1" != purge ] || deb-systemd-helper purge NAME.service >/dev/null
    systemctl daemon-reload
fi
"""
