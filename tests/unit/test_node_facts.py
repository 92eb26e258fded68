# SPDX-License-Identifier: Apache-2.0
"""Facts and classes: what sources may look like, and that a broken one keeps its last good values and is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_node import facts as facts_module
from mco_node.facts import Facts, Watched, watch_classes, watch_facts

WAIT_S = 20.0
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "facts.d"
    made.mkdir()
    return made


@pytest.fixture
def facts(tmp_path: Path, folder: Path) -> Iterator[Facts]:
    made = Facts(watch_facts(tmp_path / "facts.yaml", is_optional=True), folder, interval_s=3600)
    yield made
    made.stop()


def executable(path: Path, script: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


class TestFile:
    def test_is_read_again_when_it_changes(self, tmp_path: Path) -> None:
        # Given a file with facts
        file = tmp_path / "facts.yaml"
        file.write_text("country: de\n")
        watched = watch_facts(file, is_optional=False)
        assert watched.current() == {"country": "de"}

        # When it is replaced
        file.write_text("country: fr\ncores: 4\n")

        # Then the new values count
        assert watched.current() == {"country": "fr", "cores": 4}
        assert watched.problem is None

    def test_is_not_read_again_while_it_stays_the_same(self, tmp_path: Path) -> None:
        # Given a file, and a count of its readings
        file = tmp_path / "facts.yaml"
        file.write_text("country: de\n")
        readings: list[Path] = []
        watched = Watched(file, lambda path: readings.append(path) or {"n": len(readings)}, {}, is_optional=False)

        # When it is asked for often
        values = [watched.current() for _ in range(5)]

        # Then it was read once
        assert values == [{"n": 1}] * 5
        assert readings == [file]

    @pytest.mark.parametrize(
        ("broken", "why"),
        [
            pytest.param("country: [de\n", "line 2, column 1: not YAML: ", id="not YAML"),
            pytest.param("- de\n- fr\n", "expected `key: value` lines, found list", id="not a mapping"),
            pytest.param("1: de\n", "expected `key: value` lines, found dict", id="a key that is a number"),
            pytest.param("a: &a [*a]\n", "these facts cannot be sent: ", id="a list that holds itself"),
            pytest.param("a:\n  ? [x, y]\n  : z\n", "not YAML: found unhashable key", id="a key that is a list"),
            pytest.param("a:\n  null: z\n", "these facts cannot be sent: ", id="a key that is nothing"),
            pytest.param('a: "\\ud800"\n', "not YAML: found invalid Unicode", id="half a character"),
            pytest.param("!!python/object/apply:os.system [false]\n", "could not determine a constructor", id="code"),
        ],
    )
    def test_broken_keeps_the_last_good_values_and_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str, why: str
    ) -> None:
        # Given a file that was good
        file = tmp_path / "facts.yaml"
        file.write_text("country: de\n")
        watched = watch_facts(file, is_optional=False)
        watched.current()

        # When it breaks
        file.write_text(broken)

        # Then its last good values stay, and the problem names the file, the reason and what it means
        assert watched.current() == {"country": "de"}
        assert watched.problem is not None
        assert watched.problem.startswith(f"{file}:")
        assert why in watched.problem
        assert watched.problem.endswith("; the last good values are kept")
        assert watched.problem in caplog.text

        # When it is mended
        file.write_text("country: fr\n")

        # Then the problem is gone
        assert watched.current() == {"country": "fr"}
        assert watched.problem is None

    def test_that_is_not_utf8_is_a_problem(self, tmp_path: Path) -> None:
        # Given a file in another encoding
        file = tmp_path / "facts.yaml"
        file.write_bytes(b"town: M\xfcnchen\n")

        # When it is read
        watched = watch_facts(file, is_optional=False)

        # Then the problem says where
        assert watched.current() == {}
        assert watched.problem == f"{file}: byte 7 is not UTF-8; the last good values are kept"

    def test_that_is_missing_is_a_problem_if_it_was_asked_for(self, tmp_path: Path) -> None:
        # Given a file that the configuration names and that is not there
        watched = watch_facts(tmp_path / "none.yaml", is_optional=False)

        # Then there are no facts, and it is said
        assert watched.current() == {}
        assert watched.problem is not None
        assert "none.yaml: No such file or directory" in watched.problem

    def test_that_was_never_there_is_no_problem_if_it_is_the_default(self, tmp_path: Path) -> None:
        # Given the default file, which is not there
        file = tmp_path / "facts.yaml"
        watched = watch_facts(file, is_optional=True)

        # Then that is fine
        assert watched.current() == {}
        assert watched.problem is None

        # When it appears, it counts
        file.write_text("country: de\n")
        assert watched.current() == {"country": "de"}

        # When it goes away, its values are kept, and that is said
        file.unlink()
        assert watched.current() == {"country": "de"}
        assert watched.problem is not None
        assert "No such file or directory; the last good values are kept" in watched.problem

    def test_values_become_what_json_can_say(self, tmp_path: Path) -> None:
        # Given YAML with more types than JSON has
        file = tmp_path / "facts.yaml"
        file.write_text(
            "since: 2026-01-31\nports: !!set {22, 443}\nby_number: {1: a}\nbig: 123456789012345678901234567890\n"
        )

        # When it is read
        values = watch_facts(file, is_optional=False).current()

        # Then it can be sent
        assert values["since"] == "2026-01-31"
        assert sorted(values["ports"]) == [22, 443]
        assert values["by_number"] == {"1": "a"}
        assert msgspec.json.decode(msgspec.json.encode(values))["big"] == 123456789012345678901234567890

    def test_empty_holds_no_facts(self, tmp_path: Path) -> None:
        # Given an empty file
        file = tmp_path / "facts.yaml"
        file.write_text("")

        # Then there are no facts, and no problem
        watched = watch_facts(file, is_optional=False)
        assert watched.current() == {}
        assert watched.problem is None


class TestClasses:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            pytest.param("classes.yaml", "- web\n- dev_server\n", id="YAML"),
            pytest.param("classes.yml", "[web, dev_server]", id="YAML in one line"),
            pytest.param("classes.txt", "web\n\n  dev_server  \n", id="one a line"),
        ],
    )
    def test_come_from(self, tmp_path: Path, name: str, text: str) -> None:
        # Given a file with classes
        (tmp_path / name).write_text(text)

        # Then they are read
        assert watch_classes(tmp_path / name, is_optional=False).current() == {"web", "dev_server"}

    def test_may_be_none(self, tmp_path: Path) -> None:
        # Given an empty file
        (tmp_path / "classes.yaml").write_text("")

        # Then there are none, and no problem
        watched = watch_classes(tmp_path / "classes.yaml", is_optional=False)
        assert watched.current() == frozenset()
        assert watched.problem is None

    @pytest.mark.parametrize("text", ["web: true\n", "- 1\n", "- [web]\n", "web\n"])
    def test_that_are_something_else_are_a_problem(self, tmp_path: Path, text: str) -> None:
        # Given a file that was good
        file = tmp_path / "classes.yaml"
        file.write_text("- web\n")
        watched = watch_classes(file, is_optional=False)
        watched.current()

        # When it breaks
        file.write_text(text)

        # Then its last good values stay
        assert watched.current() == {"web"}
        assert watched.problem == f"{file}: expected a list of class names; the last good values are kept"

    def test_in_a_file_that_cannot_be_read_are_a_problem(self, tmp_path: Path) -> None:
        # Given a folder in the place of the file
        watched = watch_classes(tmp_path, is_optional=False)

        # Then that is said
        assert watched.current() == frozenset()
        assert watched.problem == f"{tmp_path}: Is a directory; the last good values are kept"


class TestFolder:
    @pytest.mark.parametrize(
        ("prints", "expected"),
        [
            pytest.param(
                'echo "cores: 4"; echo "os: {name: debian}"', {"cores": 4, "os": {"name": "debian"}}, id="YAML"
            ),
            pytest.param("""echo '{"cores": 4}'""", {"cores": 4}, id="JSON"),
            pytest.param(
                "echo cores=4; echo; echo '# why'; echo 'name = a=b '", {"cores": "4", "name": "a=b"}, id="lines"
            ),
            pytest.param("""echo '{"expression": "a=b"}'""", {"expression": "a=b"}, id="JSON with an equals sign"),
            pytest.param("echo 'url: http://x/?a=b'", {"url": "http://x/?a=b"}, id="YAML with an equals sign"),
            pytest.param("true", {}, id="nothing"),
            pytest.param("echo cores=4; echo oops >&2", {"cores": "4"}, id="a word to stderr"),
        ],
    )
    def test_executables_print(self, folder: Path, facts: Facts, prints: str, expected: object) -> None:
        # Given an executable
        executable(folder / "cores", prints)

        # When it is run
        facts.refresh()

        # Then what it printed are facts
        assert facts.current() == expected
        assert facts.problems() == []

    def test_later_sources_win(self, tmp_path: Path, folder: Path, facts: Facts) -> None:
        # Given the same fact in several sources
        (tmp_path / "facts.yaml").write_text("a: file\nb: file\nc: file\n")
        (folder / "10.yaml").write_text("b: 10\nc: 10\n")
        executable(folder / "20", "echo c: 20")

        # When they are gathered
        facts.refresh()

        # Then the last one counts
        assert facts.current() == {"a": "file", "b": 10, "c": 20}

        # When the file changes, the others still win
        (tmp_path / "facts.yaml").write_text("a: new\nb: new\n")
        assert facts.current() == {"a": "new", "b": 10, "c": 20}

    def test_what_is_gone_is_forgotten_and_what_is_hidden_ignored(self, folder: Path, facts: Facts) -> None:
        # Given a source, a hidden one, a folder and a dangling link
        source = folder / "a.yaml"
        source.write_text("a: 1\n")
        (folder / ".b.yaml.swp").write_text("b: [")
        (folder / "c").mkdir()
        (folder / "d.yaml").symlink_to("nowhere")
        facts.refresh()
        assert facts.current() == {"a": 1}
        assert facts.problems() == []

        # When the source is removed
        source.unlink()
        facts.refresh()

        # Then its facts are gone
        assert facts.current() == {}

    @pytest.mark.parametrize(
        ("script", "why"),
        [
            pytest.param("echo oops >&2; exit 3", "ended with status 3: oops", id="fails"),
            pytest.param("echo hello world", "expected a mapping of facts, found str", id="prints words"),
            pytest.param("""echo '["a=b"]'""", "expected a mapping of facts, found list", id="prints a list"),
            pytest.param("echo '[1, 2'", "not YAML", id="prints broken JSON"),
            pytest.param("head -c 5000 /dev/urandom", "not YAML", id="prints bytes"),
            pytest.param("yes a=b | head -c 1000000", "it printed too much", id="prints a lot"),
            pytest.param("kill -9 $$", "ended with status -9", id="is killed"),
        ],
    )
    def test_a_bad_executable_keeps_its_last_good_facts_and_is_named(
        self, folder: Path, facts: Facts, caplog: pytest.LogCaptureFixture, script: str, why: str
    ) -> None:
        # Given an executable that was good, and another one
        bad = executable(folder / "bad", "echo a: 1")
        executable(folder / "good", "echo b: 1")
        facts.refresh()

        # When it turns bad
        executable(bad, script)
        executable(folder / "good", "echo b: 2")
        facts.refresh()

        # Then its last facts stay, the other's are new, and the problem names it
        assert facts.current() == {"a": 1, "b": 2}
        (problem,) = facts.problems()
        assert problem.startswith(f"facts {bad}: ")
        assert why in problem
        assert problem.endswith("; the last good values are kept")
        assert problem in caplog.text

        # When it is good again, nothing is said any more
        executable(bad, "echo a: 3")
        facts.refresh()
        assert facts.current() == {"a": 3, "b": 2}
        assert facts.problems() == []

    def test_a_hanging_executable_is_killed_at_its_deadline(
        self, tmp_path: Path, folder: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given an executable that says who it is, and hangs with its child
        pids = tmp_path / "pids"
        os.mkfifo(pids)
        opened = os.open(pids, os.O_RDWR)
        executable(folder / "hangs", f"sleep 1000 & echo $$ $! > {pids}; wait")
        executable(folder / "works", "echo a: 1")
        monkeypatch.setattr(facts_module, "EXECUTABLE_TIMEOUT_S", 0.5)

        # When the facts are gathered
        facts.refresh()

        # Then the others are there, the problem names it, and its processes are gone
        try:
            assert facts.current() == {"a": 1}
            (problem,) = facts.problems()
            assert problem.startswith(f"facts {folder / 'hangs'}: ")
            assert "did not end before the deadline and was killed" in problem
            for pid in os.read(opened, 100).split():
                assert not _runs(int(pid))
        finally:
            os.close(opened)

    @pytest.mark.parametrize("mode", [0o757, 0o777])
    def test_an_executable_that_anybody_may_write_is_not_run(
        self, tmp_path: Path, folder: Path, facts: Facts, mode: int
    ) -> None:
        # Given an executable that others may change
        executable(folder / "open", f"touch {tmp_path}/was-run; echo a: 1", mode)

        # When the facts are gathered
        facts.refresh()

        # Then it was not run, and the problem says what to do
        assert facts.current() == {}
        assert not (tmp_path / "was-run").exists()
        assert "not run, because others may write it (mode 7" in facts.problems()[0]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
    def test_an_executable_of_somebody_else_is_not_run(self, tmp_path: Path, folder: Path, facts: Facts) -> None:
        # Given an executable that belongs to another user
        foreign = executable(folder / "foreign", f"touch {tmp_path}/was-run; echo a: 1")
        os.chown(foreign, NOBODY, NOBODY)

        # When the facts are gathered
        facts.refresh()

        # Then it was not run
        assert not (tmp_path / "was-run").exists()
        assert f"not run, because it belongs to user {NOBODY}, who may change it" in facts.problems()[0]

    def test_a_file_that_is_neither_is_named(self, folder: Path, facts: Facts) -> None:
        # Given a text file and a broken YAML file
        (folder / "README").write_text("nothing here\n")
        (folder / "x.yaml").write_text("- no mapping\n")

        # When the facts are gathered
        facts.refresh()

        # Then both are named
        first, second = facts.problems()
        assert "README: neither executable nor a .yaml file" in first
        assert "x.yaml: expected `key: value` lines, found list" in second

    def test_a_source_that_vanishes_meanwhile_is_named_and_stops_nothing(
        self, folder: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a source that is removed while the others are asked
        executable(folder / "a", f"rm {folder}/b; echo a: 1")
        executable(folder / "b", "echo b: 1")
        monkeypatch.setattr(Path, "is_file", lambda _: True)

        # When the facts are gathered
        facts.refresh()

        # Then the others count
        assert facts.current() == {"a": 1}
        assert "No such file or directory" in facts.problems()[0]

    def test_no_folder_is_fine(self, tmp_path: Path) -> None:
        # Given no folder
        facts = Facts(watch_facts(tmp_path / "facts.yaml", is_optional=True), tmp_path / "none", 3600)

        # When the facts are gathered
        facts.start()

        # Then there are none, and no problem
        assert facts.current() == {}
        assert facts.problems() == []

    def test_are_gathered_again_every_interval(self, tmp_path: Path, folder: Path) -> None:
        # Given an executable that tells the test each time it runs
        runs = tmp_path / "runs"
        os.mkfifo(runs)
        opened = os.open(runs, os.O_RDWR)
        executable(folder / "counts", f"echo run > {runs}; echo a: 1")
        facts = Facts(watch_facts(tmp_path / "facts.yaml", is_optional=True), folder, interval_s=0.001)

        # When a node starts
        facts.start()

        # Then it runs again and again
        try:
            seen = b""
            while seen.count(b"run") < 3:
                seen += os.read(opened, 100)
        finally:
            facts.stop()
            assert facts._thread is not None
            facts._thread.join(WAIT_S)
            os.close(opened)
        assert not facts._thread.is_alive()

    def test_can_be_asked_for_while_they_are_gathered(
        self, folder: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given two sources, and somebody who gathers anew, finding none, just when somebody else asks
        (folder / "a.yaml").write_text("a: 1\n")
        (folder / "b.yaml").write_text("b: [")
        facts.refresh()
        for name in ("a.yaml", "b.yaml"):
            (folder / name).unlink()
        monkeypatch.setattr(facts, "_by_source", Meanwhile(facts._by_source, facts.refresh))
        monkeypatch.setattr(facts, "_problems", Meanwhile(facts._problems, facts.refresh))

        # When they are asked for, then what was there is there, or is not
        assert facts.current() in ({"a": 1}, {})
        assert len(facts.problems()) <= 1

        # And the next time it is not
        facts.refresh()
        assert facts.current() == {}
        assert facts.problems() == []


class Meanwhile(dict[str, Any]):
    """A mapping in the midst of whose iteration something happens."""

    def __init__(self, values: dict[str, Any], happens: Callable[[], None]) -> None:
        super().__init__(values)
        self._happens = happens

    def __iter__(self) -> Iterator[str]:
        keys = list(super().__iter__())
        self._happens()
        return iter(keys)


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that has ended and was not reaped yet does not."""
    said = subprocess.run(("ps", "-o", "stat=", "-p", str(pid)), capture_output=True, text=True, check=False).stdout
    return bool(said.strip()) and not said.startswith("Z")


class TestThread:
    def test_a_folder_that_vanishes_leaves_its_last_good_facts(self, folder: Path, facts: Facts) -> None:
        (folder / "a.yaml").write_text("a: 1\n")
        facts.refresh()
        shutil.rmtree(folder)
        facts.refresh()
        assert facts.current() == {"a": 1}
        assert facts.problems() == [f"facts_dir: {folder}: No such file or directory; the last good values are kept"]

    def test_a_folder_that_is_made_later_is_seen_whatever_broke_before(
        self, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a node without a folder, and a first source that breaks in a way nobody thought of
        folder.rmdir()
        seen, calls = threading.Event(), []

        def read(source: Path) -> dict[str, int]:
            calls.append(source)
            if len(calls) == 1:
                raise ZeroDivisionError("oops")
            seen.set()
            return {"a": 1}

        monkeypatch.setattr(facts_module, "_read_source", read)
        facts = Facts(watch_facts(tmp_path / "facts.yaml", is_optional=True), folder, interval_s=0.01)
        facts.start()
        try:
            # When it is made, then its facts come
            folder.mkdir()
            (folder / "a.yaml").write_text("")
            assert seen.wait(WAIT_S)
        finally:
            facts.stop()

    def test_a_folder_that_others_may_write_is_not_used(self, folder: Path, facts: Facts) -> None:
        (folder / "a.yaml").write_text("a: 1\n")
        folder.chmod(0o777)
        facts.refresh()
        assert facts.current() == {}
        assert "others may write it (mode 777)" in facts.problems()[0]
