#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""External discovery: hosts from a JSON file, as an asset database may export it.

The file is a list of objects with ``name``, ``roles`` and ``site``. Roles are classes and the site is a fact. Plain
names of classes are decided here; a filter that says more is left to the nodes.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Answer the request on standard input from the file that is given."""
    request = json.load(sys.stdin)
    try:
        hosts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    except (OSError, ValueError) as e:
        print(json.dumps({"error": f"{sys.argv[1]}: {e}"}))
        return
    classes = request["filter"].get("classes", [])
    serves = [] if any(name.startswith("/") for name in classes) else ["classes"]
    if serves:
        hosts = [host for host in hosts if set(classes) <= set(host["roles"])]
    print(json.dumps({"nodes": [host["name"] for host in hosts], "serves": serves}))


if __name__ == "__main__":
    main()
