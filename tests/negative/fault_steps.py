# SPDX-License-Identifier: Apache-2.0
"""Steps that break something in the middle of a scenario; copied into the suites of the tests."""

import os
import signal
import subprocess

from behave import when


def _on(host, *command):
    subprocess.run(["mco", "lab", "exec", "--name", os.environ["MCO_LAB"], host, "--", *command], check=True)


@when('somebody empties the packet filter of "{host}"')
def empty(context, host):
    _on(host, "iptables", "-F", "MCO-BLOCK")


@when('the node on "{host}" is killed')
def kill(context, host):
    os.kill(int(context.config.userdata[f"pid_{host}"]), signal.SIGKILL)


@when("the scenario dies")
def die(context):
    raise RuntimeError("died half-way")


@when("the user presses Ctrl-C")
def interrupt(context):
    raise KeyboardInterrupt


@when("the run is terminated")
def terminate(context):
    os.kill(os.getpid(), signal.SIGTERM)


@when("the terminal is closed")
def hang_up(context):
    os.kill(os.getpid(), signal.SIGHUP)


@when("the broker dies")
def broker_dies(context):
    os.kill(int(context.config.userdata["pid_broker"]), signal.SIGKILL)
