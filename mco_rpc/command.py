# SPDX-License-Identifier: Apache-2.0
"""Run a command for an agent: an argument list, a deadline that ends the whole process group, bounded output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mco_rpc.current import Cancellation
from mco_rpc.errors import ActionAborted, TimedOut
from mco_rpc.on_path import on_path

if TYPE_CHECKING:
    import subprocess

MAX_OUTPUT_BYTES = 256 * 1024
_CHUNK_BYTES = 65536
_MAX_PIPE_BYTES = 1024 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STREAMS = ("stdout", "stderr")
_SETTINGS = "MCO_"  # so the variables of `mco_rpc.config` begin
_LANGUAGE = "LANGUAGE"  # where it is set, programs speak it although LC_ALL says otherwise
# The name of the stream, and some of what came.
OnOutput = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended; the texts hold at most so many bytes each as were allowed."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    is_truncated: bool = False

    def __str__(self) -> str:
        said = (self.stderr.strip() or self.stdout.strip())[:300]
        return f"`{' '.join(self.argv)}` ended with status {self.returncode}" + (f": {said}" if said else "")


def command_exists(*commands: str) -> Callable[[Mapping[str, object]], str | None]:
    """Return an ``activate_when`` that asks for any one of ``commands`` on the node."""

    def why_not(_settings: Mapping[str, object]) -> str | None:
        if any(on_path(command) for command in commands):
            return None
        return f"none of {', '.join(commands)} is installed" if len(commands) > 1 else f"{commands[0]} is not installed"

    return why_not


def run(
    argv: tuple[str, ...],
    *,
    deadline: float,
    stdin: bytes = b"",
    check: bool = False,
    max_output_bytes: int = MAX_OUTPUT_BYTES,
    cancellation: Cancellation | None = None,
    on_output: OnOutput | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    user: str | None = None,
) -> Completed:
    """Run a command to its end.

    Args:
        deadline: on `time.monotonic`'s clock; past it the command's whole process group is killed.
        cancellation: kills it, too.
        on_output: gets what it prints as it prints it: ``stdout`` or ``stderr``, and the bytes.
        max_output_bytes: of each output so much is kept; the rest is read and dropped.
        check: whether a status other than 0 aborts the action.
        environment: all its variables; ours without our settings, of another user few of them, if None.
        user: who runs it, with the groups of that user; we if None.

    Raises:
        TimedOut: the deadline passed.
        Cancelled: somebody wished that it ends.
        ActionAborted: the command is not installed or, with ``check``, failed.
    """
    import subprocess

    wish = cancellation or Cancellation()
    wish.check()
    if environment is None:
        environment = clean_environment() if user else inherited_environment()

    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            **(_as_user(user) if user is not None else {}),
        )
    except OSError as e:
        raise ActionAborted(f"`{argv[0]}` cannot be started: {e.strerror}; is it installed on this node?") from e
    except ValueError as e:  # a null byte, or half a character
        raise ActionAborted(f"`{argv[0]}` cannot be given such an argument: {e}") from e
    try:
        with _woken_by(wish) as cancelled:
            outputs, is_truncated = _pump(process, stdin, deadline, max_output_bytes, cancelled, on_output)
        process.wait()
    except _Woken:
        wish.check()
        raise
    except TimeoutError as e:
        raise TimedOut(f"`{' '.join(argv)}` did not end before the deadline and was killed") from e
    finally:
        _end(process)
    stdout, stderr = (out.decode("utf-8", "replace") for out in outputs)
    done = Completed(argv, process.returncode, stdout, stderr, is_truncated)
    if check and done.returncode:
        raise ActionAborted(str(done))
    return done


def clean_environment(**more: str) -> dict[str, str]:
    """Return the variables of a command that is not ours: none of the daemon's own, which may hold a password."""
    passed_on = {name: os.environ[name] for name in ("HOME", "TZ") if os.environ.get(name)}
    return {"PATH": os.environ.get("PATH") or _PATH, **passed_on, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **more}


def inherited_environment(**more: str) -> dict[str, str]:
    """Return our variables without our settings: a broker's password is nothing for a command, or for its user."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith((_SETTINGS, _LANGUAGE))}
    return {**ours, "PATH": os.environ.get("PATH") or _PATH, "LC_ALL": "C.UTF-8", **more}


def _as_user(name: str) -> dict[str, Any]:
    """Return what `subprocess.Popen` needs to run a command as another user; raise `ActionAborted` without one."""
    import grp
    import pwd

    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError) as e:
        raise ActionAborted(f"there is no user {name!r} on this node") from e
    groups = {group.gr_gid for group in grp.getgrall() if name in group.gr_mem} | {found.pw_gid}
    if os.geteuid() == found.pw_uid:
        return {}
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": sorted(groups)}


def _pump(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    deadline: float,
    limit: int,
    cancelled: int,
    on_output: OnOutput | None,
) -> tuple[list[bytes], bool]:
    """Feed and drain a process until it ends, keeping the first ``limit`` bytes of each output.

    What it started and left behind, a daemon for instance, may hold its outputs open for ever: it is not waited for.
    """
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    kept = [bytearray(), bytearray()]
    is_truncated = False
    tell = on_output or (lambda _stream, _chunk: None)
    with selectors.DefaultSelector() as selector, _end_of(process) as ended:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(cancelled, selectors.EVENT_READ)
        for name, pipe, buffer in zip(_STREAMS, pipes, kept, strict=True):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, (name, buffer))
        source = process.stdin
        if source is not None:
            os.set_blocking(source.fileno(), False)
            selector.register(source, selectors.EVENT_WRITE)
        has_ended = False
        while not has_ended:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            for key, _ in selector.select(left_s):
                if key.fileobj is ended:
                    has_ended = True
                elif key.fileobj is cancelled:
                    raise _Woken
                elif key.fileobj is source:
                    stdin = _feed(key.fd, stdin)
                    if not stdin:
                        selector.unregister(source)
                        _close(source)
                else:
                    chunk = os.read(key.fd, _CHUNK_BYTES)
                    name, buffer = key.data
                    is_truncated |= _keep(buffer, chunk, limit)
                    if chunk:
                        tell(name, chunk)
                    else:
                        selector.unregister(key.fileobj)
    for name, pipe, buffer in zip(_STREAMS, pipes, kept, strict=True):
        for chunk in _rest(pipe.fileno()):
            is_truncated |= _keep(buffer, chunk, limit)
            tell(name, chunk)
    return [bytes(buffer) for buffer in kept], is_truncated


def _keep(buffer: bytearray, chunk: bytes, limit: int) -> bool:
    """Add what there is room for; say whether something was left out."""
    room = limit - len(buffer)
    buffer.extend(chunk[:room])
    return len(chunk) > room


def _rest(fd: int) -> Iterator[bytes]:
    """Yield what is in a pipe now, and no more than a pipe holds: its other end may go on writing."""
    for _ in range(_MAX_PIPE_BYTES // _CHUNK_BYTES):
        try:
            chunk = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            return
        yield chunk


class _Woken(Exception):
    """The cancellation woke us."""


@contextlib.contextmanager
def _woken_by(wish: Cancellation) -> Iterator[int]:
    """Yield a file descriptor that can be read once somebody wished the end."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with wish.waking(lambda: os.eventfd_write(fd, 1)):
            yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _end_of(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """Yield a file descriptor that can be read once the process has ended."""
    fd = os.pidfd_open(process.pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _feed(fd: int, data: bytes) -> bytes:
    """Write what the pipe takes now; return the rest, nothing if nobody reads any more."""
    try:
        return data[os.write(fd, data[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, reap the process and close its pipes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            _close(pipe)
