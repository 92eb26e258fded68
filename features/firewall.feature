# SPDX-License-Identifier: Apache-2.0
Feature: Manage the iptables firewall

    Background:
    Given the load balancer has ip address 192.168.1.1
    And I want to update hosts with class /dev_server/
    And I want to update hosts with fact country=de
    And I want to pre-discover the nodes to manage

    Scenario: Manage the firewall
        When I block the load balancer
        Then traffic from the load balancer should be blocked

        # other tasks like package management, service restarts
        # and monitor tasks would go here

        When I unblock the load balancer
        Then traffic from the load balancer should be unblocked

    Scenario: Only the hosts that match are managed
        Then exactly these nodes should be discovered
            | node |
            | dev1 |
            | dev2 |
            | dev3 |

    Scenario: Blocking twice changes nothing the second time
        When I undo my changes at the end of the scenario
        And I block the load balancer
        Then every node should have changed
        When I block the load balancer
        Then nothing should have changed
        And traffic from the load balancer should be blocked

    @lab
    Scenario: A blocked load balancer cannot connect any more
        When I undo my changes at the end of the scenario
        Then the load balancer can connect to port 8080 of every node
        And the load balancer can connect to port 8080 of "web1"
        When I block the load balancer
        Then the load balancer cannot connect to port 8080 of any node
        And the load balancer can connect to port 8080 of "web1"
        When I unblock the load balancer
        Then the load balancer can connect to port 8080 of every node
        And the load balancer can connect to port 8080 of "web1"

    Scenario: What an earlier scenario changed was taken back
        Then traffic from the load balancer should be unblocked
