# SPDX-License-Identifier: Apache-2.0
"""What a daemon must not carry: thousands of them run, and each module that nobody uses costs each of them memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mco_rpc.security import keys
from tests.unmeasured import environment

# Each is used by something that a node may do, and is imported by it then.
HEAVY = {
    "asyncio", "bz2", "click", "concurrent", "cryptography", "dns", "email", "html", "http", "importlib.metadata",
    "importlib.resources", "jinja2", "json", "lzma", "mco_client", "mco_lab", "mco_registry", "multiprocessing",
    "nagiosplugin", "optparse", "pdb", "pika.adapters.asyncio_connection", "pika.adapters.blocking_connection",
    "prometheus_client", "psutil", "re2", "rich", "sdnotify", "shutil", "socketserver", "sqlalchemy", "sqlite3",
    "statistics", "tabulate", "tempfile", "unittest", "urllib.request", "wsgiref", "xml", "zipfile",
    "mco_node.external", "mco_node.metrics",
}  # fmt: skip
# All that a daemon imports until it is connected, with every agent that a machine of this kind has.
START = """
import sys
from pathlib import Path
from mco_rpc.config import node_settings
from mco_node.main import _parser, make_node
import mco_node.running_daemon

_parser().parse_args(["run"])
node = make_node(node_settings(Path(sys.argv[1])))
assert len(node.agents()) > 10, node.problems()
node.facts(), node.classes(), node.stats()
print(" ".join(sys.modules))
"""


def test_a_daemon_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    keys.generate(tmp_path / "node.key", tmp_path / "callers" / "operator.pub")
    settings = {
        "identity": "web1",
        "key_file": f"{tmp_path}/node.key",
        "trusted_callers": f"{tmp_path}/callers",
        "audit_file": f"{tmp_path}/audit.jsonl",
        "agents": {"iptables": {"backend": "memory"}, "shell": {"enabled": True}},
    }
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-c", START, str(tmp_path / "node.yaml")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert imported & HEAVY == set()
    assert "pika.adapters.select_connection" in imported


@pytest.mark.parametrize("name", ["AsyncioConnection", "BlockingConnection"])
def test_who_wants_what_the_broker_library_was_spared_has_it(name: str) -> None:
    code = (
        "import sys, mco_rpc.connector.rabbitmq, pika, pika.adapters\n"
        "assert 'asyncio' not in sys.modules\n"
        f"assert pika.adapters.{name}.__name__ == {name!r}\n"
        "from pika.adapters.blocking_connection import BlockingConnection\n"
        "assert pika.BlockingConnection is BlockingConnection\n"
        "assert not hasattr(pika, 'Nothing') and not hasattr(pika.adapters, 'Nothing')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment(), check=True, timeout=60)
