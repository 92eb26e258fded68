# SPDX-License-Identifier: Apache-2.0
"""Lists of nodes in all their forms: whatever is not the name of a node is an error with its place."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_client.discovery import source
from mco_client.discovery.flatfile import FlatFile
from mco_client.discovery.listed import Listing, listing, names_in
from mco_rpc import names
from mco_rpc.errors import ConfigError, DiscoveryError, McoError
from mco_rpc.filters import Filter

ANSWER = {"sender": "web1", "status": 0, "data": {"sender": "not this one"}}


def known(*files: Path) -> tuple[str, ...]:
    return FlatFile(files).known(Filter(), 1.0).nodes


@pytest.mark.parametrize(
    "text",
    [
        "web1\nweb2",
        "web1\nweb2\n",
        "web1\r\nweb2\r\n",
        "\n\n  web1  \n\t web2\t\n\n",
        "# all\nweb1 # the first\n#web3\nweb2#the second",
        "web1\nweb2\nweb1\n",
        '["web1", "web2"]',
        '  \n ["web1",\n "web2"]\n',
        '"web1"\n"web2"\n',
        '[{"sender": "web1"}, {"identity": "web2"}]',
        '[{"certname": "web1", "facts": {}}, "web2"]',
        json.dumps({"results": [ANSWER, {"sender": "web2", "status": 0}], "statistics": {"responses": 2}}),
        json.dumps({"results": [ANSWER, {"sender": "web2", "status": 0}], "statistics": {}}, indent=2),
        json.dumps({"results": [ANSWER, {"sender": "web3", "status": 5}, {"sender": "web2", "statuscode": 0}]}),
        (
            '{"kind": "started", "sender": "web9"}\n{"kind": "answer", "sender": "web1", "status": 0}\n'
            '{"kind": "answer", "sender": "web3", "status": 1}\n{"kind": "told", "sender": "web8", "text": "x"}\n'
            '{"kind": "answer", "sender": "web2", "status": 0}\n{"kind": "statistics", "statistics": {}, "schemas": []}'
        ),
        "web[1:2]\n",
        '{"replies": [{"sender": "web1"}, {"sender": "web2"}], "summary": {}}',
        '{"nodes": ["web1", "web2"]}',
        '{"sender": "web1", "status": 0}\r\n\n{"sender": "web2"}\n{"statistics": {"responses": 2}}\n',
        '{"results": [{"sender": "web1"}]}\n{"results": [{"sender": "web2"}]}',
        '["web1"]\n["web2"]',
        '{"sender": "web1", "nodes": ["not", "these"]}\n"web2"',
    ],
)
def test_every_form_names_the_same_nodes(text: str) -> None:
    assert names_in(text, "here") == ("web1", "web2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web1\nweb2 web3\n", "here, line 2: identity 'web2 web3' cannot be used"),
        ("web1\n\n-rf\n", "here, line 3: identity '-rf' cannot be used"),
        ("web1\x00\n", r"here, line 1: identity 'web1\\x00' cannot be used"),
        ("a\nweb\x1b2J\n", r"here, line 2: identity 'web\\x1b2J' cannot be used"),
        ("web1\x0bweb2", r"here, line 1: identity 'web1\\x0bweb2' cannot be used"),
        ("a\nb\u2028c", r"here, line 2: identity 'b\\u2028c' cannot be used"),
        ("a\nweb[1:", r"here, line 2: the brackets of 'web\[1:' do not match"),
        ("/web/", "here, line 1: identity '/web/' cannot be used"),
        ('["web1", 7]', r"here: \[1\]: expected names, objects with sender.*; found 7"),
        ('["web1", null]', r"here: \[1\]: expected names.*; found None"),
        ('["web1", ["web2"]]', r"here: \[1\]: expected names.*; found \['web2'\]"),
        ('[{"host": "web1"}]', r"here: \[0\]: expected names.*; found an object with host"),
        ('[{"sender": 1}]', r"here: \[0\]: expected names"),
        ('{"results": [{"sender": "a"}, {"status": 1}]}', r"here: results\[1\]: expected names.*an object with status"),
        ('{"results": 3}', "here: expected names.*; found an object with results"),
        ("{}", "here: expected names.*; found an object with nothing"),
        ('["we b"]', r"here: \[0\]: identity 'we b' cannot be used"),
        ('["web1\\u001b[2J"]', r"here: \[0\]: identity 'web1\\x1b\[2J' cannot be used"),
        ('["a",\n"b"\n"c"]', "here, line 3: not JSON: JSON is malformed"),
        ('["a"', "here: not JSON"),
        ('{"sender": "a"}\n{"sender": "b"', "here, line 2: not JSON"),
        ('{"sender": "a"}\nweb2', "here, line 2: not JSON"),
        ('{"sender": "a"}\n{"status": 1}', "here, line 2: expected names"),
        ("[" * 100_000, "here: not a list of nodes: nested too deep"),
        ("x" * 100_000, "here, line 1: identity"),
        ("[" + "9" * 5000 + "]", r"here.*(not JSON|expected names)"),
    ],
)
def test_what_is_no_node_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as wrong:
        names_in(text, "here")
    assert len(str(wrong.value)) < 1000
    assert str(wrong.value).isprintable()


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody\n", "[]", '{"results": [], "statistics": {}}', "\ufeff\n"[1:]])
def test_a_list_of_nobody_is_an_error(text: str) -> None:
    with pytest.raises(DiscoveryError, match=r"^here: it names no node; expected one identity a line, or JSON"):
        names_in(text, "here")


def test_answers_of_which_none_succeeded_name_nobody() -> None:
    text = json.dumps({"results": [{"sender": "web1", "status": 3}, {"sender": "web2", "statuscode": 1}]})
    with pytest.raises(DiscoveryError, match=r"^here: it names no node that succeeded; 2 failed$"):
        names_in(text, "here")
    one = json.dumps([{"sender": "web1", "status": 3}, "web2"])
    assert listing(one, "here") == Listing(("web2",), ("web1",))


@given(st.text() | st.text(alphabet='[]{}",:\n senderwb1\\u0\0') | st.binary().map(lambda raw: raw.decode("latin-1")))
@example('"\\ud800"')
@example("[1e999]")
def test_no_text_gives_anything_but_names_or_an_error_of_ours(text: str) -> None:
    try:
        found = names_in(text, "here")
    except McoError:
        return
    assert found
    assert all(map(names.is_name, found))


def test_several_files_are_one_list_in_their_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two.json"
    one.write_text("web2\nweb1\n")
    two.write_text('["web1", "db1"]')
    assert known(one, two) == ("web2", "web1", "db1")
    assert FlatFile((one, two)).name == f"flatfile {one}, {two}"


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_bytes(b"\xef\xbb\xbfweb1\r\n\r\nweb2\r\n")
    assert known(file) == ("web1", "web2")


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("web1\n")
    listed = FlatFile((file,))
    assert listed.known(Filter(), 1.0).nodes == ("web1",)
    file.write_text("web2\n")
    assert listed.known(Filter(), 1.0).nodes == ("web2",)


def test_a_pipe_as_file_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("web1\nweb2\n",), daemon=True)
    writer.start()
    assert known(pipe) == ("web1", "web2")
    writer.join()


def test_what_cannot_be_read_is_told_with_its_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"web1\nweb2\nw\xffb3\n")
    for file, message in (
        (tmp_path / "nothing", "nothing: No such file or directory$"),
        (tmp_path, "Is a directory$"),
        (bad, "bad, line 3: byte 11 is not UTF-8$"),
        (Path("/dev/zero"), "^/dev/zero: more than the [0-9,]+ bytes that are read$"),
        (Path("a\0b"), r"'a\\x00b' cannot be a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            known(file)


def test_a_million_nodes_are_read_and_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nodes"
    file.write_text("".join(f"web{number}\n" for number in range(1_000_000)))
    assert len(known(file)) == 1_000_000
    monkeypatch.setattr("mco_client.discovery.listed.MAX_NODES", 2)
    file.write_text("web1\nweb2\nweb1\n")
    assert known(file) == ("web1", "web2")
    file.write_text("web1\nweb2\nweb3\n")
    with pytest.raises(ConfigError, match="nodes: 3 nodes; at most 2 are read"):
        known(file)


def test_a_near_name_is_suggested_where_that_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nodes"
    file.write_text("web1.example.net\nweb2.example.net\n")
    asked = Filter(identities=("web2.exmaple.net",))
    absent = FlatFile((file,)).known(asked, 1.0).absent
    assert absent == {"web2.exmaple.net": f"flatfile {file} does not name it, did you mean web2.example.net?"}
    monkeypatch.setattr(source, "_MAX_COMPARED", 1)
    assert FlatFile((file,)).known(asked, 1.0).absent == {"web2.exmaple.net": f"flatfile {file} does not name it"}
