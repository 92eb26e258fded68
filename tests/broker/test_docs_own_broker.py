# SPDX-License-Identifier: Apache-2.0
"""What the README tells to do with a RabbitMQ and hosts of one's own works, typed as it stands there.

A private broker stands for the reader's, one process for the host, and two folders for /etc/mco and the home.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from mco_lab.broker import Broker
from tests.docs_examples import ROOT, Block, difference, page, words

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

RABBITMQCTL = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
HOST = "root@web1.example.net:"
USERS = ("nodes:PASSWORD1", "callers:PASSWORD2")


class Reader:
    """Types what a page says, and keeps the daemon that is started on the way."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self.home, self.etc = folder / "home", folder / "etc"
        for made in (self.home, self.etc):
            made.mkdir()
        for optional in ("facts.yaml", "classes.yaml"):  # they may be missing in their usual place, and nowhere else
            (self.etc / optional).touch()
        self.environment = {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            **{name: value for name, value in os.environ.items() if name.startswith("COV")},
        }
        etc = {f"MCO_{key.upper()}": str(self.etc / name) for key, name in {
            "config": "node.yaml", "key_file": "node.key", "trusted_callers": "callers", "facts_file": "facts.yaml",
            "classes_file": "classes.yaml", "facts_dir": "facts.d",
        }.items()}  # fmt: skip
        # Whatever packet filter this machine has is not asked.
        self._host = {**self.environment, **etc, "MCO_AGENTS": "{iptables: {backend: memory}}"}
        self._daemon: subprocess.Popen[bytes] | None = None

    def follow(self, block: Block) -> None:
        """Write the block's file, or type its commands and compare what they print."""
        if block.file:
            text = self.here(block.text)
            file = Path(self.here(block.file))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        for command in block.commands():
            if command.line.endswith(" &"):
                self.start_daemon()
                continue
            done = self.type(words(command.line))
            assert done.returncode == 0, f"{command.line}: {done.stdout}"
            if command.shown:
                assert difference(command.shown, done.stdout) is None, command.line

    def here(self, text: str) -> str:
        """Return a text of the page with the broker and the folders that stand for the reader's."""
        address = f"{self._broker.host}:{self._broker.port}"
        text = text.replace("broker.example.net:5672", address).replace(HOST, "").replace("/etc/mco", str(self.etc))
        return text.replace("~/", f"{self.home}/")

    def type(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the reader's machine, on the host or on the broker's, as its name demands."""
        command = [self.here(word) for word in command]
        environment = self._host if command[0] == "mco-node" else self.environment
        if command[0] == "rabbitmqctl":
            command = [str(RABBITMQCTL), "-n", "lab@localhost", *command[1:]]
            environment = {**self._broker._environment, "PATH": os.environ["PATH"]}
        if command[0] == "scp":
            command[0] = shutil.which("cp") or "cp"
        return subprocess.run(
            command,
            env={**environment, **variables},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )

    def start_daemon(self) -> None:
        """Start the host's daemon, another one if one runs, and wait until it is ready."""
        self.stop_daemon()
        ready, say = os.pipe()
        with (self.etc.parent / "node.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["mco-node", "run", "--ready-fd", str(say)], env=self._host, pass_fds=[say], stderr=log, cwd=self.etc
            )
        os.close(say)
        with os.fdopen(ready) as said:
            assert said.read() == "READY=1\n", (self.etc.parent / "node.log").read_text()

    def stop_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            assert self._daemon.wait(30) == 0
            self._daemon = None


@pytest.fixture
def reader(own_broker: Broker, tmp_path: Path) -> Iterator[Reader]:
    if not RABBITMQCTL.exists():
        pytest.skip(f"{RABBITMQCTL} is not installed")
    with contextlib.ExitStack() as stack:
        made = Reader(own_broker, tmp_path)
        stack.callback(made.stop_daemon)
        yield made


def test_the_readme_and_the_security_page_typed_as_they_stand(reader: Reader) -> None:
    # When the README's three steps are followed, then its ping has the answer that is shown
    readme = page(ROOT / "README.md").blocks
    for block in readme:
        if block.run == "own" or (block.file.startswith(("/", "~")) and not block.file.endswith(".py")):
            reader.follow(block)
    # When its agent is put on the host, then it answers
    node = reader.etc / "node.yaml"
    for block in readme:
        if block.file.endswith("disk.py"):
            reader.follow(block)
            node.write_text(node.read_text() + reader.here("libdir: [/etc/mco/agents]\n"))
            reader.start_daemon()
        elif block.run == "own-agent":
            reader.follow(block)
    refused = reader.type(["mco", "rpc", "disk", "usage", "path=var"])
    assert "input path: 'var' does not match /[/].*/" in refused.stdout
    # When the broker's users get only the rights that the security page gives them
    for block in page(ROOT / "docs/guides/security.md").blocks:
        if block.run == "own":
            reader.follow(block)
    client = reader.home / ".config/mco/client.yaml"
    node.write_text(node.read_text().replace("mco:PASSWORD@", "nodes:PASSWORD1@"))
    client.write_text(client.read_text().replace("mco:PASSWORD@", "callers:PASSWORD2@"))
    reader.start_daemon()
    # Then everything goes on
    for command in ("mco ping", "mco rpc rpcutil ping"):
        asked = reader.type(words(command))
        assert asked.returncode == 0, asked.stdout
    # And a host can neither ask nor listen to replies, and who asks cannot pose as a host
    host, caller = (reader.here(f"amqp://{who}@broker.example.net:5672/mco") for who in USERS)
    posed = reader.type(["mco", "ping"], MCO_BROKERS=host)
    assert (posed.returncode, "refused: ACCESS_REFUSED" in posed.stdout) == (1, True), posed.stdout
    for exchange, is_refused in (("broadcast", True), ("node", True), ("reply", False), ("event", False)):
        assert (
            refuses(host, lambda channel, to=exchange: channel.basic_publish(f"mcollective.{to}", "x", b""))
            is is_refused
        )
        assert refuses(host, lambda channel, to=exchange: bind(channel, "mco.node.x", to)) is not is_refused
    assert refuses(host, lambda channel: channel.queue_declare("mco.reply.alice.x", exclusive=True))
    assert refuses(caller, lambda channel: channel.queue_declare("mco.node.x", exclusive=True))
    assert refuses(caller, lambda channel: channel.basic_publish("mcollective.reply", "alice.x", b""))


def bind(channel: Any, queue: str, exchange: str) -> None:
    channel.queue_declare(queue, exclusive=True)
    channel.queue_bind(queue, f"mcollective.{exchange}", "x")


def refuses(url: str, act: Callable[[Any], object]) -> bool:
    """Say whether the broker refuses what is done on a channel, for want of rights."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        act(channel)
        channel.basic_qos(prefetch_count=1)  # answered after what was published before has been judged
    except pika.exceptions.ChannelClosedByBroker as e:
        return e.reply_code == 403
    finally:
        connection.close()
    return False
