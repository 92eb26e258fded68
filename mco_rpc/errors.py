# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors; both sides raise from it and nothing else reaches a user.

::

    McoError                     anything this project reports on purpose
    ├── ConfigError              a settings file, variable or option is wrong: fix it and start again
    ├── BrokerError              the broker cannot be used
    │   ├── BrokerUnreachable    nobody listens there, or the connection was lost: try again later
    │   ├── BrokerRefused        it answered and said no: credentials, virtual host, permissions
    │   ├── IdentityTaken        another connection holds this node's queue: two daemons, one identity
    │   └── NotRecorded          a recording stands in for the fleet, and has no answer to this question
    ├── RecordingError           a recording cannot be read or written
    ├── SecurityError            a key cannot be used, or a message is not what its sender signed
    ├── MessageError             bytes that are not a message of this protocol
    ├── FilterError              a filter cannot be understood
    ├── SchemaError              an agent's own declaration is wrong
    ├── RequestError             a node refuses or fails a request; carries the status that crosses the wire
    │   ├── ActionAborted        the action could not do its work, or would not
    │   │   └── Cancelled        the caller wished that it ends
    │   ├── UnknownAction        no such agent or action there
    │   ├── MissingData          a required input is not there
    │   ├── InvalidData          an input is not what the schema allows
    │   ├── Denied               the caller may not
    │   ├── TimedOut             the action did not end before its deadline
    │   └── Expired              the request came too late, or a clock is wrong
    │       └── ClockSkew        it came from the future: a clock is wrong for certain
    ├── TooManyNodes             a call would reach more nodes than its cap allows: nothing was sent
    ├── DiscoveryError           no node could be found, or a discovery source cannot serve this filter
    └── ExpectationFailed        the fleet answered, and it is not as it should be (also an AssertionError)

Errors cross the wire as a status and a text; classes are never rebuilt from what a node sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mco_rpc.status import Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class McoError(Exception):
    """Anything this project reports on purpose."""


class ConfigError(McoError):
    """A settings file, an environment variable or an option is wrong."""


class BrokerError(McoError):
    """The broker cannot be used."""


class BrokerUnreachable(BrokerError):
    """Nobody listens at the broker's address, or the connection to it was lost."""


class BrokerRefused(BrokerError):
    """The broker answered and said no."""


class IdentityTaken(BrokerError):
    """Another connection holds this node's queue."""


class NotRecorded(BrokerError):
    """A recording stands in for the fleet, and has no answer to this question."""


class RecordingError(McoError):
    """A recording cannot be read or written."""


class SecurityError(McoError):
    """A key cannot be used, or a message is not what its sender signed."""


class MessageError(McoError):
    """Bytes that are not a message of this protocol."""


class FilterError(McoError):
    """A filter cannot be understood."""


class SchemaError(McoError):
    """An agent's declaration of itself is wrong."""


class RequestError(McoError):
    """A node refuses or fails a request; ``status`` and the text are what the caller gets."""

    status = Status.UNKNOWN_ERROR

    def __init__(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = dict(data or {})


class ActionAborted(RequestError):
    """The action could not do its work, or refuses to do it."""

    status = Status.ABORTED


class Cancelled(ActionAborted):
    """The caller wished that its request ends; whoever raises this has left things as sound as they can be."""


class UnknownAction(RequestError):
    """There is no such agent or action on this node."""

    status = Status.UNKNOWN_ACTION


class MissingData(RequestError):
    """A required input is not there."""

    status = Status.MISSING_DATA


class InvalidData(RequestError):
    """An input is not what the schema allows."""

    status = Status.INVALID_DATA


class Denied(RequestError):
    """The caller may not do this here."""

    status = Status.DENIED


class TimedOut(RequestError):
    """The action did not end before its deadline."""

    status = Status.TIMED_OUT


class Expired(RequestError):
    """The request came after its time to live, or from a clock that is too far off."""

    status = Status.EXPIRED


class ClockSkew(Expired):
    """The request is from the future: the caller's clock or the node's is wrong."""


class TooManyNodes(McoError):
    """A call would reach more nodes than its cap allows."""


class DiscoveryError(McoError):
    """No node could be found, or a discovery source cannot serve this filter."""


class ExpectationFailed(McoError, AssertionError):
    """The fleet answered, and it is not as it should be."""
