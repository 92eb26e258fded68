# SPDX-License-Identifier: Apache-2.0
"""``mco filter explain`` and ``mco describe-filter``: why a filter matches a node or does not, and what it means."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from mco_client.cli import asking, exits, options, output
from mco_client.connection import Connection
from mco_client.discovery.broadcast import named_in
from mco_client.results import Results
from mco_client.text import listed, natural, one_line
from mco_rpc import names
from mco_rpc.errors import ConfigError, FilterError
from mco_rpc.filters import Filter, Subject, from_options
from mco_rpc.filters import verdict as verdicts
from mco_rpc.filters.verdict import Verdict
from mco_rpc.yaml_text import read_yaml, read_yaml_mapping

_MARK = "->"
_MAX_TERM, _MAX_SEEN = 100, 200
_MAX_LINE = 1000
_JOINING = ("and", "or", "not")
_HELD = {True: "yes", False: "no", None: "-"}
# Any of them says that the node is described on the command line.
_DESCRIBED = ("facts_file", "class_words", "agent_words", "identity")


_EXITS = """\b
Exit status:
  0  every node that was asked matches
  1  an error, or a node that could not be asked or could not say
  2  some node does not match"""


@click.group(
    "filter",
    epilog="""\b
Examples:
  mco filter explain "country=de and not /db/" --node web1
  mco filter explain -C web -F "cores>=4" --node web1 -j

"""
    + _EXITS,
)
def filters() -> None:
    """See why a filter matches a node, or does not."""


def _with_expression(command: Callable[..., int]) -> Callable[..., int]:
    """Add an expression beside the filter options, as one more thing that must hold."""

    @functools.wraps(command)
    def run(expression: str | None, node_filter: Filter, **rest: Any) -> int:
        more = from_options(compound=[expression]) if expression is not None else Filter()
        asked = node_filter.merged(more).check()
        if not asked:
            raise click.UsageError("Give an EXPRESSION or filter options: nothing matches every node.")
        return command(node_filter=asked, **rest)

    return click.argument("expression", required=False)(options.filtered(run))


@filters.command(
    epilog="""\b
Examples:
  mco filter explain "country=de and not /db/" --node web1
  mco filter explain -C /web/ -F "cores>=4"                 on every node
  mco filter explain "cores>=4 or web" --facts facts.yaml --classes web,ntp

"""
    + _EXITS
)
@click.option(
    "--node", "nodes", multiple=True, metavar="NODE", help="Ask this node; may be repeated [default: every node]."
)
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask no node: these are the facts, as YAML or JSON.",
)
@click.option(
    "--classes",
    "class_words",
    metavar="FILE|NAME,...",
    help="Ask no node: these are the classes, by name or in a file, one a line or a YAML list.",
)
@click.option("--agents", "agent_words", metavar="NAME,...", help="Ask no node: these are the agents it offers.")
@click.option("--identity", metavar="NAME", help="Ask no node: this is its identity.")
@_with_expression
@options.timeout
@options.as_json
@options.connected(unless=_DESCRIBED)
def explain(
    connection: Connection | None,
    node_filter: Filter,
    nodes: tuple[str, ...],
    timeout_s: float | None,
    is_json: bool,
    **described: Any,
) -> int:
    """Show which terms of a filter hold on a node, what it has there, and which terms decide.

    All filter options, and EXPRESSION, say what is explained; --node says where.
    """
    if connection is None:
        if nodes:
            raise click.UsageError("--node asks a live node; --facts, --classes, --agents and --identity describe one.")
        subject = _described(**described)
        verdict = verdicts.explain(node_filter, subject)
        return _say(node_filter, {subject.identity: verdict}, {}, is_json=is_json)
    client = asking.client(connection, "rpcutil", Filter(), timeout_s=timeout_s, progress=False)
    named = nodes or named_in(node_filter)
    asking.discover(client, [names.check("node", node) for node in named] if named else None)
    results = client.explain_filter(filter=node_filter.to_json())
    output.warn_of_strangers(results)
    output.warn_of_late(results)
    found, failed = _verdicts(results)
    return _say(node_filter, found, failed, is_json=is_json)


@click.command(
    "describe-filter",
    epilog="""\b
Examples:
  mco describe-filter -C /web/ -F country=de
  mco describe-filter "country=de and not (/db/ or cores<4)"

"""
    + exits.EPILOG,
)
@_with_expression
@options.as_json
@options.debug
def describe_filter(node_filter: Filter, is_json: bool) -> int:
    """Say in words what a filter means; no node is asked."""
    from mco_rpc.filters.words import in_words

    words, expression = in_words(node_filter), node_filter.as_expression()
    if is_json:
        output.say_json({"words": words, "expression": expression, "filter": node_filter.to_json()})
        return exits.OK
    for line in words:
        output.say(one_line(line, _MAX_LINE))
    if expression is not None:
        output.say(f"\nAs one expression: {one_line(expression, _MAX_LINE)}")
    return exits.OK


def _described(
    facts_file: Path | None, class_words: str | None, agent_words: str | None, identity: str | None
) -> Subject:
    """Return the node that the options describe.

    Raises:
        ConfigError: a file cannot be read.
    """
    import msgspec

    facts = read_yaml_mapping(facts_file) if facts_file else {}
    plain: dict[str, Any] = msgspec.to_builtins(facts, str_keys=True, enc_hook=str)  # as nodes have them
    classes = frozenset(_classes(class_words or ""))
    return Subject(identity or "the node described", classes, frozenset(_words(agent_words or "")), plain)


def _classes(text: str) -> Iterable[str]:
    """Return the names, or those in the file of that name."""
    file = Path(text)
    if not text or not file.is_file():
        if "/" in text:
            raise ConfigError(f"--classes {text}: there is no such file, and no name of a class has a slash")
        return _words(text)
    if file.suffix in (".yaml", ".yml"):
        listed_classes = read_yaml(file)
        if not isinstance(listed_classes, list) or not all(isinstance(name, str) for name in listed_classes):
            raise ConfigError(f"{file}: expected a list of class names")
        return listed_classes
    try:
        return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as e:
        raise ConfigError(f"{file}: byte {e.start} is not UTF-8") from e


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _verdicts(results: Results) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Return the verdict of each node that gave one, and why each of the others did not."""
    found: dict[str, Verdict] = {}
    waited = f"no reply within {results.timeout_s:g} s"
    failed = dict.fromkeys(results.missing, waited) | dict.fromkeys(results.offline, "offline")
    failed |= dict.fromkeys(results.lost, "it went away after it was asked")
    failed |= results.absent
    failed |= {result.sender: f"{result.status_text}: {result.message}" for result in results.failed}
    failed |= {node: f"its answer was not believed: {why}" for node, why in results.unverified.items()}
    for result in results:
        if result.is_ok:
            try:
                found[result.sender] = Verdict.from_json(result.data.get("verdict"))
            except FilterError as e:
                failed[result.sender] = str(e)
    return found, failed


def _say(node_filter: Filter, found: Mapping[str, Verdict], failed: Mapping[str, str], *, is_json: bool) -> int:
    """Print the verdicts; return the exit status."""
    if is_json:
        output.say_json(
            {
                "expression": node_filter.as_expression(),
                "verdicts": {node: found[node].to_json() for node in sorted(found, key=natural)},
                "failed": dict(failed),
            }
        )
    else:
        _say_all(found, failed)
    if failed or not found or any(verdict.error for verdict in found.values()):
        return exits.ERROR
    return exits.OK if all(verdict.matches for verdict in found.values()) else exits.FAILED


def _say_all(found: Mapping[str, Verdict], failed: Mapping[str, str]) -> None:
    alike: dict[Verdict, list[str]] = {}
    for node in sorted(found, key=natural):
        alike.setdefault(found[node], []).append(node)
    for number, (verdict, nodes) in enumerate(alike.items()):
        if number:
            output.say()
        _say_one(listed(map(one_line, nodes)), verdict)
    if failed and found:
        output.say()
    for node in sorted(failed, key=natural):
        output.say(output.coloured(f"{one_line(node)}: {one_line(failed[node], 1000)}", "red"))


def _say_one(nodes: str, verdict: Verdict) -> None:
    """Print a verdict as a tree, a term a line, those that decided with a mark."""
    if verdict.error:
        output.say(output.coloured(f"{nodes}: cannot say: {one_line(verdict.error, 1000)}", "red"))
    else:
        text, colour = ("matches", "green") if verdict.matches else ("does not match", "red")
        output.say(f"{nodes}: {output.coloured(text, colour)}")
    terms = [f"{'  ' * finding.depth}{one_line(finding.text, _MAX_TERM)}" for finding in verdict.findings]
    width = max((len(term) for term, each in zip(terms, verdict.findings, strict=True) if each.seen), default=0)
    for term, finding in zip(terms, verdict.findings, strict=True):
        mark = _MARK if finding.decided and finding.kind not in _JOINING else ""
        line = f"{mark:<2} {_HELD[finding.held]:<3}  {term:<{width}}  {one_line(finding.seen, _MAX_SEEN)}"
        output.say(line.rstrip())
    if verdict.omitted:
        output.say(f"... and {verdict.omitted} more terms")
