# SPDX-License-Identifier: Apache-2.0
"""Which nodes a feature is about, and what is undone at its end."""

from behave import given, then, when

from mco_rpc.filters import from_options


@given("I want to update hosts with class {name}")
def only_with_class(context, name):
    context.fleet.narrow(from_options(classes=[name]))


@given("I want to update hosts with fact {comparison}")
def only_with_fact(context, comparison):
    context.fleet.narrow(from_options(facts=[comparison]))


@given("I want to update hosts with identity {name}")
def only_with_identity(context, name):
    context.fleet.narrow(from_options(identities=[name]))


@given("I want to update hosts with agent {name}")
def only_with_agent(context, name):
    context.fleet.narrow(from_options(agents=[name]))


@given("I want to pre-discover the nodes to manage")
def discover(context):
    context.fleet.discover()


@then("exactly these nodes should be discovered")
def exactly_discovered(context):
    context.fleet.require_nodes(row[0] for row in (context.table or ()))


@when("I undo my changes at the end of the scenario")
def undo_at_the_end(context):
    context.fleet.undo_at_the_end()


@then("nothing should have changed")
def nothing_changed(context):
    context.fleet.require_last().require_all(changed=False)


@then("every node should have changed")
def everything_changed(context):
    context.fleet.require_last().require_all(changed=True)
