# SPDX-License-Identifier: Apache-2.0
"""The private broker by itself: no root, no namespaces, free ports, nothing left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from mco_lab import broker_files
from mco_lab.broker import Broker, free_port
from mco_lab.errors import LabError
from mco_lab.pytest_plugin import require

from .conftest import traces

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    require(broker_files.find_server)
    with Broker(vhosts=2, users={"second": "its:password"}) as broker:
        yield broker


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def test_every_user_may_use_every_virtual_host(broker):
    for url in (broker.url, broker.url_for("t0"), broker.url_for("t1", "second").replace("its:", "its%3A")):
        with connect(url) as connection:
            assert connection.channel().queue_declare("", exclusive=True).method.queue


def test_there_is_no_guest_and_no_other_password(broker):
    for user in ("guest:guest", "lab:guess"):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            connect(f"amqp://{user}@127.0.0.1:{broker.port}/")


def test_it_listens_on_loopback_only(broker):
    assert len(traces(str(broker.folder))["processes"]) >= 2  # so that the test below can see any
    addresses = {line.split()[1].split(":")[0] for line in _listening({broker.port})}
    assert addresses == {"0100007F"}


def test_virtual_hosts_and_users_can_be_added(broker):
    with connect(broker.add_vhost('a "quoted" one').replace(" ", "%20").replace('"', "%22")) as connection:
        assert connection.is_open
    broker.add_user("third", "secret")
    with connect(broker.url_for("t0", "third")) as connection:
        assert connection.is_open
    with pytest.raises(LabError, match="refused a definition"):
        broker.define({"permissions": [{"user": "nobody", "vhost": "nowhere"}]})


def test_what_is_durable_survives_a_kill(broker):
    with connect(broker.url) as connection:
        connection.channel().queue_declare("kept", durable=True)

    broker.kill()

    assert not broker.is_running
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connect(broker.url)
    broker.start()
    with connect(broker.url) as connection:
        assert connection.channel().queue_declare("kept", passive=True)


def test_it_leaves_nothing_even_if_it_cannot_start():
    require(broker_files.find_server)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = Broker(port=taken.getsockname()[1])

        with pytest.raises(LabError, match=r"(?s)rabbitmq-server ended with status 1 .*eaddrinuse"), broker:
            pass

    assert not broker.folder.exists()
    assert broker.processes == []
    assert traces(str(broker.folder))["processes"] == []


def test_a_late_one_is_told_with_its_log(broker):
    with pytest.raises(LabError, match="did not answer within 0 s"):
        broker.await_ready(timeout_s=0)


def test_one_that_was_not_started_cannot_be_waited_for(tmp_path):
    broker = Broker(tmp_path)
    with pytest.raises(LabError, match="was not started"):
        broker.await_ready()
    broker.stop()
    broker.close()
    assert tmp_path.exists()


def test_a_missing_server_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(broker_files, "_DEBIAN_SERVER", tmp_path / "nothing")
    monkeypatch.setattr(broker_files, "find_program", lambda _name: None)
    with pytest.raises(LabError, match="apt-get install rabbitmq-server"):
        Broker(tmp_path).launch()


def test_a_port_is_free_or_there_is_an_error():
    with socket.create_server(("127.0.0.1", free_port())):
        pass
    with pytest.raises(LabError, match="no free TCP port was found"):
        free_port(is_free=lambda _host, _port: False)


def _listening(ports: set[int]) -> list[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if int(line.split()[1].split(":")[1], 16) in ports and line.split()[3] == "0A"]
