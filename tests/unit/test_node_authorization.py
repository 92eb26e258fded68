# SPDX-License-Identifier: Apache-2.0
"""The authorizations that ship, and how one is chosen."""

from __future__ import annotations

import pytest

from mco_node.authorization import AllowAll, make
from mco_rpc.errors import ConfigError
from mco_rpc.messages import Request


def test_allow_all_allows() -> None:
    # Given a request
    request = Request(id="1", collective="c", agent="a", action="b", caller="key=x", sender="h", sent_at=1.0, ttl_s=5.0)

    # When it is asked for, then nothing is raised
    AllowAll().authorize(request)


def test_the_configured_one_is_made() -> None:
    # When the configuration names one, then it is made
    assert isinstance(make("allow_all"), AllowAll)


def test_an_unknown_one_is_an_error_with_a_suggestion() -> None:
    # When the configuration names none that there is
    # Then the error says what was meant
    with pytest.raises(
        ConfigError, match=r"^authorization: 'alow_all' is not one of allow_all, did you mean allow_all\?$"
    ):
        make("alow_all")
