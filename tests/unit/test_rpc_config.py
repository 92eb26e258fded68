# SPDX-License-Identifier: Apache-2.0
"""Settings from a file and from variables: what is not understood is an error that names file, line and key."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mco_rpc.config import client_settings, node_settings, redacted
from mco_rpc.errors import ConfigError
from mco_rpc.yaml_text import parse_yaml, read_yaml, read_yaml_mapping

NODE = {"MCO_IDENTITY": "web1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mco.yaml"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    made = client_settings(environment={"HOME": str(tmp_path)})

    assert made.connector == "rabbitmq"
    assert made.collective == "mcollective"
    assert made.caller == "caller"  # the name of the key file


def test_a_file_sets_and_a_variable_sets_over_it(file: Path) -> None:
    # Given a file, and variables for two of its settings and a third
    file.write_text("identity: web1\nworkers: 2\ncollectives: [a, b]\nlibdir: [/x]\n")
    environment = {"MCO_WORKERS": "3", "MCO_COLLECTIVES": "c, d,", "MCO_MAX_TTL_S": "60", "MCO_LOG_LEVEL": ""}

    made = node_settings(file, environment)

    # Then the variables win, an empty one says nothing, and the rest of the file holds
    assert (made.identity, made.workers, made.collectives) == ("web1", 3, ("c", "d"))
    assert (made.max_ttl_s, made.log_level, made.libdir) == (60.0, "info", ("/x",))


def test_a_url_in_a_variable_keeps_its_colons() -> None:
    url = "amqp://a:b@[::1]:5672/x"
    assert node_settings(environment={**NODE, "MCO_BROKERS": f"{url},amqp://h/"}).brokers == (url, "amqp://h/")


def test_agents_may_be_set_in_a_variable() -> None:
    made = node_settings(environment={**NODE, "MCO_AGENTS": "{iptables: {backend: memory}}"})
    assert made.agents == {"iptables": {"backend": "memory"}}


def test_the_file_is_found_where_it_is_named_or_at_home(tmp_path: Path) -> None:
    (tmp_path / "mco").mkdir()
    (tmp_path / "mco/client.yaml").write_text("collective: home\n")
    named = tmp_path / "named.yaml"
    named.write_text("collective: named\n")

    at_home = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert client_settings(environment=at_home).collective == "home"
    assert client_settings(environment={**at_home, "MCO_CONFIG": str(named)}).collective == "named"
    assert client_settings(named, at_home).collective == "named"
    with pytest.raises(ConfigError, match=f"configuration file {tmp_path}/none.yaml is not there"):
        client_settings(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="is not there"):
        client_settings(environment={"MCO_CONFIG": str(tmp_path)})


def test_the_identity_is_the_hosts_name_unless_it_is_set(file: Path) -> None:
    file.write_text("")
    assert node_settings(file, {}).identity == socket.getfqdn()


def test_the_other_sides_variables_are_no_mistake() -> None:
    environment = {**NODE, "MCO_CALLER": "alice", "MCO_LAB": "x", "MCO_CONFIG": "", "OTHER": "x"}
    environment |= {"MCO_CALL": "x", "MCO_CALL_ACTION": "x", "MCO_INPUT_path": "x", "MCO_SETTING_file": "x"}
    assert node_settings(environment=environment).identity == "web1"
    assert client_settings(environment={"MCO_IDENTITY": "web1"}).caller == "caller"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("worker: 2", "unknown key 'worker', did you mean workers?"),
        ("zzz: 2", "unknown key 'zzz'"),
        ("workers: two", "workers: Expected `int`, got `str`"),
        ("workers: 0", "workers: expected more than 0, got 0"),
        ("workers: 1.5", "workers: Expected `int`"),
        ("workers: .nan", "workers: "),
        ("max_ttl_s: .nan", "max_ttl_s: expected more than 0, got nan"),
        ("max_ttl_s: .inf", "max_ttl_s: expected more than 0, got inf"),
        ("connect_timeout_s: .nan", "connect_timeout_s: expected more than 0"),
        ("heartbeat_s: -1", "heartbeat_s: expected more than 0"),
        ("heartbeat_s: 100000", "heartbeat_s: AMQP allows at most 65535, got 100000"),
        ("max_clock_skew_s: -1", "max_clock_skew_s: expected 0 or more, got -1"),
        ("max_clock_skew_s: .nan", "max_clock_skew_s: expected 0 or more, got nan"),
        ("drain_timeout_s: .inf", "drain_timeout_s: expected 0 or more"),
        ("identity_grace_s: -0.1", "identity_grace_s: expected 0 or more"),
        ("identity: web 1", "identity 'web 1' cannot be used"),
        ("identity: [a]", "identity: Expected `str`"),
        ("identity: 'web#'", "identity 'web#' cannot be used"),
        ("collectives: []", "collectives: at least one is needed"),
        ("collectives: [a b]", "collective 'a b' cannot be used"),
        ("collectives: a", "collectives: Expected `array`"),
        ("brokers: []", "brokers: at least one URL is needed"),
        ("log_level: inf", "log_level: 'inf' is not one of debug, info, warning, error, did you mean info?"),
        ("log_format: xml", "log_format: 'xml' is not one of text, json"),
        ("agents: [iptables]", "agents: Expected `object`"),
        ("agents: {iptables: true}", "agents[...]: Expected `object`"),
        ("- a\n- b", "expected `key: value` lines, found list"),
        ("text", "expected `key: value` lines, found str"),
        ("1: 2", "expected `key: value` lines, found dict"),
        ("a: [\n", "line 2, column 1: not YAML: "),
        ("a: b: c\n", "line 1, column 5: not YAML: mapping values are not allowed"),
        ("a:\n\t- b", "line 2, column 1: not YAML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        node_settings(file, {} if "identity:" in text else NODE)
    assert str(refused.value).startswith(f"{file}: ")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "text", "why"),
    [
        ("MCO_WORKER", "2", "environment variable MCO_WORKER: there is no setting worker, did you mean MCO_WORKERS?"),
        ("MCO_ZZZ", "2", "environment variable MCO_ZZZ: there is no setting zzz"),
        ("MCO_WORKERS", "two", "environment variable MCO_WORKERS: Expected `int`, got `str`"),
        ("MCO_WORKERS", "]", "environment variable MCO_WORKERS: line 1, column 1: not YAML"),
        ("MCO_WORKERS", "-1", "workers: expected more than 0, got -1"),
        ("MCO_COLLECTIVES", " , ", "collectives: at least one is needed"),
    ],
)
def test_what_is_wrong_in_a_variable_is_named(variable: str, text: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        node_settings(environment={**NODE, variable: text})
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("collective: 'a b'", "collective 'a b' cannot be used"),
        ("caller: key=x", "caller 'key=x' cannot be used"),
        ("key_file: '/x/my key.key'", "key_file: its name is the caller's unless `caller` is set, and caller 'my key'"),
        ("key_file: ''", "key_file: its name is the caller's"),
        ("timeout_s: 0", "timeout_s: expected more than 0"),
        ("discovery_window_s: .nan", "discovery_window_s: expected more than 0"),
        ("identity: web1", "unknown key 'identity'"),
    ],
)
def test_what_is_wrong_in_a_clients_file_is_named(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        client_settings(file, {})
    assert why in str(refused.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_yaml(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"caf\xe9: 1")
    with pytest.raises(ConfigError, match="byte 3 is not UTF-8"):
        read_yaml(latin)


def test_an_empty_file_is_an_empty_mapping(file: Path) -> None:
    file.write_text("# nothing\n")
    assert read_yaml_mapping(file) == {}


@pytest.mark.parametrize(
    "text",
    [
        "!!bool x",
        "!!int ''",
        "!!float ''",
        "!!timestamp x",
        "!!binary ä",
        "2020-13-45",
        "? [a]\n: b",
        "<<: 3",
        "\x00",
        "\ud800",
        "&a [*b]",
        "!!python/object/apply:os.system [true]",
        "!!omap [a]",
        "!unknown x",
        "%TAG",
        "1" * 5000,
    ],
)
def test_yaml_made_to_upset_its_reader_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ConfigError, match=r"somewhere:.* not YAML: "):
        parse_yaml(text, "somewhere")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "[" * 10_000 + "]" * 10_000, "? " * 10_000]
)
def test_yaml_nested_without_end_does_not_end_the_process(text: str) -> None:
    with pytest.raises(ConfigError, match="nested more than 500 deep"):
        parse_yaml(text, "somewhere")


def test_deep_but_reasonable_yaml_and_long_flat_yaml_are_read() -> None:
    assert parse_yaml("[" * 400 + "]" * 400, "x")
    assert len(parse_yaml("- [a, {b: c}]\n" * 1000, "x")) == 1000


@given(st.text(max_size=80))
@example("a: &a [*a]")
@example("!!set {a, b}")
def test_any_text_is_yaml_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_yaml(text, "somewhere")


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["identity", "workers", "collectives", "brokers", "agents", "max_ttl_s", "log_level", "libdir", "heartbeat_s"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_values_are_settings_or_an_error_of_ours(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values))
    try:
        made = node_settings(file, {})
    except ConfigError:
        return
    assert made.identity
    assert made.brokers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
def test_any_file_is_settings_or_an_error_of_ours(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")
    with contextlib.suppress(ConfigError):
        client_settings(file, {})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://lab:secret@192.168.1.254:5672/", "amqp://lab@192.168.1.254:5672/"),
        ("amqps://lab:se@cr:et@host/vhost", "amqps://lab@host/vhost"),
        ("amqp://host/", "amqp://host/"),
        ("amqp://lab@host/", "amqp://lab@host/"),
        ("lab:secret@host", "lab@host"),
        ("host:5672", "host:5672"),
        ("", ""),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_aliases_of_aliases_are_refused_before_they_grow() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    with pytest.raises(ConfigError, match=r"here: line \d, .*its aliases stand for more than 100000 values"):
        parse_yaml(bomb, "here")
    assert parse_yaml("a: &a [1]\nb: *a\nc: &c 2\nd: *c\n", "here") == {"a": [1], "b": [1], "c": 2, "d": 2}
