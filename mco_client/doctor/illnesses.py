# SPDX-License-Identifier: Apache-2.0
"""Every illness that is known: where it sits, how one notices it, what it comes from, and what to do.

The table of the documentation is made from this one, and a test causes each of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Illness:
    """An illness.

    Attributes:
        symptom: what somebody notices who has it.
        cause: what is wrong.
        advice: what to do; names in braces are filled in from the finding.
        is_warning: whether things work all the same.
    """

    area: str
    symptom: str
    cause: str
    advice: str
    is_warning: bool = False


CONFIGURATION, KEY, TRUST, BROKER, NODES, CLOCKS, AGENTS, LOCAL = (
    "configuration",
    "key",
    "trusted nodes",
    "broker",
    "nodes",
    "clocks",
    "agents",
    "this machine",
)

ILLNESSES: dict[str, Illness] = {
    "config-invalid": Illness(
        CONFIGURATION,
        "every command ends with an error about a file or a variable",
        "a key, a value or the YAML of the client's configuration is wrong",
        "Correct {where}; all settings are in docs/reference/configuration.md",
    ),
    "config-exposed": Illness(
        CONFIGURATION,
        "nothing; others can read the broker's password",
        "the configuration holds a password and others may read it",
        "chmod 600 {file}",
        is_warning=True,
    ),
    "key-unusable": Illness(
        KEY,
        "every command ends with an error about a private key",
        "the caller's key is missing, belongs to somebody else, can be read by others, or is none",
        "Make one with `mco keygen NAME`, or name yours in key_file; only its owner may be able to read it (chmod 600)",
    ),
    "trust-unusable": Illness(
        TRUST,
        "no answer is believed, or every command ends with an error about the folder of trusted keys",
        "the folder trusted_nodes is missing, others may write it, or a file in it is no public key",
        "Put the public keys of your nodes, NAME.pub, into {folder}; only you or root may be able to write there",
    ),
    "trust-empty": Illness(
        TRUST,
        "nodes answer, and none is believed",
        "the folder trusted_nodes holds no key",
        "Copy the public key of every node (`mco-node keygen` prints its path) into {folder}",
    ),
    "keys-alike": Illness(
        TRUST,
        "one host can answer in the name of another",
        "two identities have the same key: a machine was cloned with /etc/mco/node.key, or a key was copied",
        "On all but one of {names}: remove /etc/mco/node.key, run `mco-node keygen`, restart, copy the new public key",
    ),
    "broker-name": Illness(
        BROKER,
        "the host name cannot be resolved",
        "the broker's name in brokers is wrong, or DNS is",
        "Correct the host in brokers, or see why `getent hosts {host}` says nothing",
    ),
    "broker-refused": Illness(
        BROKER,
        "connection refused",
        "nothing listens on that port: RabbitMQ is down, or listens elsewhere",
        "On {host}: `systemctl status rabbitmq-server` and `rabbitmq-diagnostics listeners`",
    ),
    "broker-unreachable": Illness(
        BROKER,
        "no route to host, network unreachable",
        "the network does not lead there",
        "See why `ip route get {host}` and the firewalls between do not let you through",
    ),
    "broker-silent": Illness(
        BROKER,
        "commands wait for connect_timeout_s and give up",
        "a firewall drops what is sent there, or the broker hangs",
        "Look for a rule that drops port {port}; on {host}: `rabbitmq-diagnostics check_running`",
    ),
    "broker-protocol": Illness(
        BROKER,
        "connection lost at once, or never made",
        "something else than AMQP 0-9-1 answers on that port, the management pages for instance",
        "Name the port of `rabbitmq-diagnostics listeners` whose purpose is AMQP 0-9-1, 5672 as a rule",
    ),
    "broker-tls-expected": Illness(
        BROKER,
        "connection lost at once",
        "the port speaks TLS, and the URL says amqp://",
        "Write amqps://{host}:{port}/ in brokers, with ?cacertfile=FILE if your own authority signed its certificate",
    ),
    "broker-tls-not-spoken": Illness(
        BROKER,
        "TLS failed",
        "the URL says amqps://, and the port speaks no TLS",
        "Name the TLS port, 5671 as a rule, or have RabbitMQ listen with TLS (listeners.ssl.default)",
    ),
    "broker-certificate": Illness(
        BROKER,
        "TLS failed: certificate verify failed",
        "the broker's certificate has expired, is for another name, or nobody we know has signed it",
        "Renew it; or name who signed it (?cacertfile=FILE), or the name in it (&server_name_indication=NAME)",
    ),
    "broker-certificate-soon": Illness(
        BROKER,
        "nothing yet",
        "the broker's certificate expires within two weeks",
        "Renew it before {day}",
        is_warning=True,
    ),
    "broker-credentials": Illness(
        BROKER,
        "the broker refused the user name or password",
        "brokers holds another user or password than RabbitMQ has",
        "On {host}: `rabbitmqctl authenticate_user {user} PASSWORD`; guest may come from localhost only",
    ),
    "broker-vhost": Illness(
        BROKER,
        "the broker has no such virtual host, or we may not use it",
        "the path of the URL names no virtual host of that broker, or the user has no permissions there",
        "On {host}: `rabbitmqctl list_vhosts` and `rabbitmqctl list_user_permissions {user}`",
    ),
    "broker-permissions": Illness(
        BROKER,
        "the broker refused: access to an exchange or a queue",
        "the user lacks permissions that a caller needs",
        "On {host}: `rabbitmqctl set_permissions -p {vhost} {user} CONFIGURE WRITE READ`; the security guide has them",
    ),
    "broker-blocked": Illness(
        BROKER,
        "commands connect, and nobody answers",
        "the broker takes no messages: it is short of memory or disk",
        "On {host}: `rabbitmq-diagnostics alarms`; make room, or raise vm_memory_high_watermark or disk_free_limit",
    ),
    "broker-lost": Illness(
        BROKER,
        "connection lost, in the middle of a call",
        "the broker was stopped or started again, or something on the way ends connections",
        "Run `mco doctor` again; if it happens again, look for the time in the broker's log",
    ),
    "broker-slow": Illness(
        BROKER,
        "everything takes long, however few nodes are asked",
        "the broker, or the way to it, is slow",
        "Look at its load and at the network (`ping {host}`); ask from a machine that is nearer",
        is_warning=True,
    ),
    "nobody-there": Illness(
        NODES,
        "no node answers, and that is known at once",
        "no daemon is connected to this broker, virtual host and collective",
        "On a node: `systemctl status mco-node`, and compare brokers and collectives with yours: `mco-node check`",
    ),
    "caller-untrusted": Illness(
        NODES,
        "no node answers, though daemons are connected",
        "the nodes do not have your public key, or have another one under your name",
        "Copy {public} to every node, as /etc/mco/callers/{caller}.pub, and see whom its log rejects",
    ),
    "nobody-matches": Illness(
        NODES,
        "no node answered for the filter",
        "the filter asks for what no node that answers is or has",
        "See which nodes there are with `mco find`, and why one does not match with `mco filter explain`",
    ),
    "source-unsure": Illness(
        NODES,
        "commands end with an error about a list, an inventory or the registry, or warn that not everybody is known",
        "whoever should know the nodes (discovery, --dm) cannot say, or not for certain",
        "Correct what is named; `mco doctor --dm broadcast` and `mco rpc --dm broadcast` do without it",
    ),
    "node-unheard": Illness(
        NODES,
        "a node is not found, and nobody misses it",
        "its key is trusted, and it is down, cut off, in another collective, or gone for good",
        "On it: `systemctl status mco-node`; if it is gone for good, remove its key from {folder}",
        is_warning=True,
    ),
    "node-untrusted": Illness(
        NODES,
        "the answer of a node was not believed",
        "its key is not in trusted_nodes, or is another one: a new machine, or somebody who claims to be it",
        "If you know why its key changed, copy its public key into {folder}; if not, find out before you do",
    ),
    "node-missing": Illness(
        NODES,
        "a node was expected, and not found",
        "it is down, cut off, or its daemon does not run",
        "On it: `systemctl status mco-node`; or take it out of the list if it is gone for good",
    ),
    "node-denies": Illness(
        NODES,
        "denied",
        "the node knows you, and its policy lets you not ask how it fares",
        "Let the administrator of the node allow rpcutil to key={caller}",
        is_warning=True,
    ),
    "node-silent": Illness(
        NODES,
        "no reply within some seconds from a node that is found",
        "its daemon answers discovery and nothing else: all workers hang, or the machine does",
        "On it: `systemctl restart mco-node`, after a look at its log",
    ),
    "node-slow": Illness(
        NODES,
        "calls take as long as one node takes",
        "it is overloaded, swaps, or is far away",
        "Look at it: `mco host load -I {node}`",
        is_warning=True,
    ),
    "node-hanging": Illness(
        NODES,
        "calls time out on a node, and it answers ever less",
        "actions have run past their deadline and cannot be ended; each keeps a worker's thread",
        "`mco controller restart -I {node}`; its log says which action it was",
    ),
    "node-drained": Illness(
        NODES,
        "everything but controller, discovery and rpcutil is refused there",
        "somebody drained the node",
        "`mco controller resume -I {node}`, once whoever drained it agrees",
        is_warning=True,
    ),
    "node-reconnects": Illness(
        NODES,
        "a node is missing now and then",
        "its connection to the broker breaks again and again: network, heartbeats, a second daemon of its name",
        "Compare its log with the broker's at the times of `connection lost`",
        is_warning=True,
    ),
    "identity-taken": Illness(
        NODES,
        "a daemon gives up with `another daemon with this identity runs`",
        "two machines have one identity: a clone, or a copied configuration",
        "On one of them set identity in /etc/mco/node.yaml, or its host name, and give it a key of its own",
    ),
    "version-difference": Illness(
        NODES,
        "the same question gets answers of different kinds",
        "not all nodes run the same version of the daemon",
        "Upgrade those that are behind",
        is_warning=True,
    ),
    "clock-node": Illness(
        CLOCKS,
        "requests are refused there as expired, or as from the future",
        "the clock of the node is wrong",
        "On {node}: `timedatectl`; have chrony or systemd-timesyncd run",
    ),
    "clock-here": Illness(
        CLOCKS,
        "requests are refused everywhere as expired, or as from the future",
        "the clock of this machine is wrong",
        "Here: `timedatectl`; have chrony or systemd-timesyncd run",
    ),
    "agent-broken": Illness(
        AGENTS,
        "unknown agent on some nodes",
        "an agent or data source did not load there, or its reload failed and the old one goes on",
        "Correct what is named, then `mco controller reload-agents -I {node}`; `mco-node check` there says more",
    ),
    "node-config-broken": Illness(
        AGENTS,
        "a change of a node's configuration has no effect",
        "the daemon was told to read it again, and could not; it goes on with what it had",
        "Correct what is named, see `mco-node check` there, and tell it again: `systemctl reload mco-node`",
    ),
    "facts-broken": Illness(
        AGENTS,
        "filters by facts or classes miss nodes",
        "a facts or classes file cannot be read, or a program in facts_dir fails",
        "Correct the file that is named; it is read again by itself",
    ),
    "schema-difference": Illness(
        AGENTS,
        "not all nodes have the same agent",
        "nodes have different versions of an agent",
        "Roll one version out; `mco plugin doc {agent}` shows who has which",
        is_warning=True,
    ),
    "cache-unwritable": Illness(
        LOCAL,
        "every command asks for schemas again, and completion knows nothing",
        "the cache folder cannot be written",
        "Make {folder} writable for you, or let XDG_CACHE_HOME or HOME name a folder of your own",
        is_warning=True,
    ),
}
