# SPDX-License-Identifier: Apache-2.0
"""``mco package``: which versions of a package the nodes have, and its changes."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, table

_PACKAGE = ("package",)


def _names(rows: list[dict[str, str]]) -> str:
    return ", ".join(str(row["package"]) for row in rows)


_CHANGE = table("", "changed", "before", "after", Column("also", "with it", _names, is_last=True))
package = application(
    "package",
    "Look after packages of the operating system.",
    {
        "status": Verb("which version is installed", _PACKAGE, fields("version", is_grouped=True)),
        "install": Verb("install it, if need be in this version", ("package", "version?"), _CHANGE),
        "update": Verb("bring it to the newest version", _PACKAGE, _CHANGE),
        "uninstall": Verb("remove it, and keep its configuration", _PACKAGE, _CHANGE),
        "purge": Verb("remove it with its configuration", _PACKAGE, _CHANGE),
        "checkupdates": Verb(
            "what could be updated",
            (),
            table(
                "outdated_packages",
                "package",
                "installed",
                Column("version", "available"),
                "repository",
                nothing="up to date",
            ),
        ),
        "refresh": Verb("fetch the lists of packages"),
        "list": Verb("what is installed", ("pattern?",), table("packages", "name", "version")),
    },
    words="PACKAGE ACTION",
    examples="""\
  mco package openssl status                      which versions, on which nodes
  mco package install nginx 1.22.1-9 -C /web/     the action may come first
  mco package checkupdates                        what could be updated, anywhere
  mco package nginx update -C /web/ --noop        what would be changed?""",
)
