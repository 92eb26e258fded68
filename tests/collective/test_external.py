# SPDX-License-Identifier: Apache-2.0
"""External agents the whole way, and the examples in shell, Perl and JavaScript as they are shipped."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.results import Result
from mco_client.rpc import RpcClient
from mco_client.told import Started, Told
from mco_lab.memory import MemoryFleet
from mco_rpc.external_file import read
from mco_rpc.status import Status

pytestmark = pytest.mark.timeout(60)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "agents"
COUNTER = r"""#!/bin/sh
file=$MCO_SETTING_file
before=$(cat "$file")
[ "$before" -lt 5 ] || { echo '{"status": 1, "message": "it is full", "data": {"before": 5}}'; exit 1; }
[ "$MCO_CALL_NOOP" = true ] || echo $((before + 1)) > "$file"
printf '{"data": {"changed": true, "before": %d, "after": %d, "by": "%s"}}\n' \
    "$before" "$(cat "$file")" "$MCO_CALL_CALLER"
"""
SCHEMA: dict[str, Any] = {
    "name": "counter",
    "version": "1.0",
    "description": "Count up.",
    "external": {"protocol": 1, "settings": ["file"]},
    "actions": {
        "up": {
            "description": "Count up",
            "mutating": True,
            "noop": True,
            "outputs": {
                "changed": {"type": "boolean", "description": "Whether"},
                "before": {"type": "integer", "description": "Before"},
                "after": {"type": "integer", "description": "After"},
                "by": {"type": "string", "description": "Who asked"},
            },
        },
        "reset": {
            "description": "Begin again",
            "mutating": True,
            "inputs": {"to": {"type": "integer", "description": "Where"}},
        },
    },
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    lines = [f"line {n} {'ERROR ü' if n % 10 == 0 else 'ok'}" for n in range(1, 101)]
    (folder / "app.log").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[MemoryFleet]:
    # A copy, for a checkout may belong to somebody whom a node does not trust.
    libdir = tmp_path_factory.mktemp("external") / "libdir"
    shutil.copytree(EXAMPLES, libdir)
    (libdir / "counter.json").write_text(json.dumps(SCHEMA))
    (libdir / "counter").write_text(COUNTER)
    (libdir / "counter").chmod(0o755)
    for file in (libdir, *libdir.rglob("*")):
        os.chown(file, os.geteuid(), os.getegid())
        file.chmod(file.stat().st_mode & ~0o022)
    (logs / "count").write_text("0\n")
    agents = {"counter": {"file": str(logs / "count")}, "logs": {"folder": str(logs)}}
    settings = {"libdir": [str(libdir)], "agents": agents}
    with MemoryFleet({"web1": {"settings": settings}}) as made:
        yield made


def client(fleet: MemoryFleet, agent: str, **options: Any) -> RpcClient:
    return RpcClient(agent, fleet.connection()).using(**options)


def the_one(results: Any) -> Result:
    (made,) = results
    assert isinstance(made, Result)
    return made


class TestTheWholeWay:
    def test_a_node_says_nothing_is_wrong_and_offers_them_all(self, fleet: MemoryFleet) -> None:
        node = fleet.nodes["web1"]
        assert [problem for problem in node.problems() if "external" in problem] == []
        assert {"counter", "disk", "logs", "webcheck"} <= set(node.agents())

    def test_an_action_says_what_it_would_change_then_changes_it_then_fails(
        self, fleet: MemoryFleet, logs: Path
    ) -> None:
        (logs / "count").write_text("3\n")
        counter = client(fleet, "counter")
        would = the_one(client(fleet, "counter", noop=True).call("up"))
        assert (would.data["before"], would.data["after"]) == (3, 3)
        done = the_one(counter.call("up"))
        assert (done.data["before"], done.data["after"]) == (3, 4)
        assert done.data["by"] == counter.connection.security.principal
        the_one(counter.call("up"))
        full = the_one(counter.call("up"))
        assert (full.status, full.message, full.data) == (Status.ABORTED, "it is full", {"before": 5})

    def test_what_cannot_say_what_it_would_change_is_not_run_for_it(self, fleet: MemoryFleet, logs: Path) -> None:
        (logs / "count").write_text("1\n")
        refused = the_one(client(fleet, "counter", noop=True).call("reset", to=1))
        assert refused.status == Status.ABORTED
        assert "it cannot say what it would change" in refused.message
        assert (logs / "count").read_text() == "1\n"

    def test_who_follows_hears_what_it_says(self, fleet: MemoryFleet, tmp_path: Path) -> None:
        said = list(client(fleet, "disk").follow("usage", path=str(tmp_path)))
        assert isinstance(said[0], Started)
        assert [item.text for item in said if isinstance(item, Told)] == ["counting\n"]
        assert isinstance(said[-1], Result)


class TestExamples:
    @pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.json")), ids=lambda file: file.stem)
    def test_each_schema_is_sound(self, file: Path) -> None:
        schema, _ = read(file.read_bytes())
        assert schema.name == file.stem

    def test_shell_counts_what_a_folder_holds(self, fleet: MemoryFleet, tmp_path: Path) -> None:
        folder = tmp_path / 'it\'s a "folder"'
        (folder / "inner").mkdir(parents=True)
        for name in ("a", "b", "inner/c\nd"):
            (folder / name).write_text("x" * 5000)
        data = the_one(client(fleet, "disk").call("usage", path=str(folder))).data
        assert data["files"] == 3
        assert data["size_bytes"] >= 15_000

    def test_shell_removes_old_files_once(self, fleet: MemoryFleet, tmp_path: Path) -> None:
        for name in ("old", "new"):
            (tmp_path / name).write_text("x")
        os.utime(tmp_path / "old", (0, 0))
        inputs: dict[str, Any] = {"path": str(tmp_path), "days": 10}
        would = the_one(client(fleet, "disk", noop=True).call("tidy", **inputs)).data
        assert would == {"changed": True, "before": 1, "after": 1}
        assert the_one(client(fleet, "disk").call("tidy", **inputs)).data == {"changed": True, "before": 1, "after": 0}
        assert the_one(client(fleet, "disk").call("tidy", **inputs)).data == {"changed": False, "before": 0, "after": 0}
        assert [file.name for file in tmp_path.iterdir()] == ["new"]

    def test_shell_says_what_it_will_not_do(self, fleet: MemoryFleet, tmp_path: Path) -> None:
        disk = client(fleet, "disk")
        assert the_one(disk.call("usage", path="/no/such")).message == "there is no such folder on this node"
        assert the_one(disk.call("tidy", path=str(tmp_path), days=-1)).message == "days cannot be negative"

    def test_perl_counts_lines(self, fleet: MemoryFleet) -> None:
        logs = client(fleet, "logs")
        data = the_one(logs.call("count", file="app.log", patterns=["ERROR", "^line 7\\b", "never"])).data
        assert data == {
            "lines": 100,
            "counts": {"ERROR": 10, "^line 7\\b": 1, "never": 0},
            "last": {"ERROR": "line 100 ERROR ü", "^line 7\\b": "line 7 ok"},
        }

    def test_perl_says_which_input_is_wrong(self, fleet: MemoryFleet, logs: Path) -> None:
        client_ = client(fleet, "logs")
        wrong = the_one(client_.call("count", file="app.log", patterns=["("]))
        assert (wrong.status, wrong.message) == (Status.INVALID_DATA, "( is not an expression of Perl")
        gone = the_one(client_.call("count", file="other.log", patterns=["x"]))
        assert (gone.status, gone.message) == (Status.ABORTED, f"{logs}/other.log: No such file or directory")

    def test_javascript_asks_web_services(self, fleet: MemoryFleet) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/" else 404)
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *_: Any) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            urls = [f"{base}/", f"{base}/gone", "ftp://127.0.0.1/"]
            said = list(client(fleet, "webcheck").follow("get", urls=urls))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        result = said[-1]
        assert isinstance(result, Result)
        answers = result.data["answers"]
        assert (answers[urls[0]]["status"], answers[urls[0]]["bytes"]) == (200, 5)
        assert answers[urls[1]]["status"] == 404
        assert answers[urls[2]] == {"error": "not an http or https address"}
        assert result.data["failed"] == 2
        assert sorted(item.text for item in said if isinstance(item, Told) and item.stream == "progress") == sorted(
            urls
        )
