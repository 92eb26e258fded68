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
