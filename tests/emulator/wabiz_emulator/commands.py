# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import pathlib
import sys

from wabiz_emulator import accounts, certificates, database, fleet, logs, node, processes, store


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="wabiz_emulator", description="An emulator of the WhatsApp Business On-Premises client."
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_webapp(commands.add_parser("webapp", help="the HTTP API of one client or of many"))
    _add_node(commands.add_parser("node", help="a Coreapp, a master or a database upgrade"))
    for action in ("start", "stop", "restart"):
        command = commands.add_parser(f"{action}-node", help=f"{action} a local node")
        place = command.add_mutually_exclusive_group(required=True)
        place.add_argument("--store", type=pathlib.Path, help="directory of the client, for nodes that are processes")
        place.add_argument("--api-url", help="address of the client, for nodes that are simulated in its Webapp")
        command.add_argument("--ca-path", help="PEM file, with --api-url")
        command.add_argument("--timeout", type=float, default=10.0, help="seconds before a kill (default: %(default)s)")
        command.add_argument("name", help="host name or full name of the node")
        command.set_defaults(run=_act_on_node, action=action)
    pki = commands.add_parser("pki", help="write a CA and a server certificate")
    pki.add_argument("directory", type=pathlib.Path, help="gets ca.pem, cert.pem, key.pem")
    pki.add_argument("names", nargs="*", help="host names and addresses beside 127.0.0.1 and localhost")
    pki.set_defaults(run=_pki)
    many = commands.add_parser("fleet", help="single clients as local processes, until SIGTERM")
    many.add_argument("--clients", type=_count, default=3, help="how many (default: %(default)s)")
    many.add_argument(
        "--dir", required=True, type=pathlib.Path, help="gets fleet.json, the stores and the certificates"
    )
    many.add_argument("--switch", action="append", default=[], metavar="NAME=VALUE", help="switch of every client")
    many.add_argument("--password", help="of admin, instead of an owed first change (or WA_EMULATOR_PASSWORD)")
    many.set_defaults(run=_fleet)
    stand_in = commands.add_parser("database", help="a TCP listener in the place of a database")
    stand_in.add_argument("--host", default="127.0.0.1")
    stand_in.add_argument("--port", type=_port, default=3306)
    stand_in.set_defaults(run=_database)
    waiting = commands.add_parser("wait-for-database", help="wait for the database of WA_DB_HOSTNAME and WA_DB_PORT")
    waiting.add_argument("--default-port", type=int, default=3306, help="without WA_DB_PORT (default: %(default)s)")
    waiting.add_argument("--timeout", type=float, default=60.0, help="seconds (default: %(default)s)")
    waiting.set_defaults(run=_wait_for_database)
    return top


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        # The system takes the rest of a division for it.
        raise argparse.ArgumentTypeError("0 to 65535 expected")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a positive number expected")
    return number


def _add_webapp(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--client", default=os.environ.get("WA_EMULATOR_CLIENT", "client"), help="name in logs (default: %(default)s)")
    add("--clients", type=_count, metavar="N", help="N clients c0001, c0002, ... in this process, a port each")
    add("--prefix", action="store_true", help="with --clients: all on one port, at /c0001/v1/...")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=0, help="the first port, 0: free ones (default: %(default)s)")
    add(
        "--store", type=pathlib.Path, help="shared directory; without it state and one simulated Coreapp live in memory"
    )
    add(
        "--nodes",
        default="wacore",
        metavar="NAMES",
        help="simulated nodes without --store, such as master1,wacore1,wacore2",
    )
    add("--http", action="store_true", help="no TLS")
    add("--tls-cert", type=pathlib.Path)
    add("--tls-key", type=pathlib.Path)
    add("--self-signed", action="append", metavar="NAME", help="make a certificate for NAME in the store")
    add("--switch", action="append", default=[], metavar="NAME=VALUE", help="VALUE is JSON, or a bare string")
    add("--request-log", help="file of JSON lines (default: requests.jsonl in the store)")
    add("--node-log", help="file of JSON lines (default: nodes.jsonl in the store)")
    add("--web-log", help="a further file for the lines of the request log, which the control API leaves alone")
    add("--username", default=accounts.FIRST_NAME)
    add(
        "--password",
        help="preset: the first change is done (or WA_EMULATOR_PASSWORD); without: admin/secret, change owed",
    )
    add("--owes-change", action="store_true", help="the preset password is still to be changed")
    add("--token", type=pathlib.Path, metavar="FILE", help="write a ready token of the user to FILE")
    add("--api-key", default=os.environ.get("WA_API_KEY") or None, help="for health (or WA_API_KEY)")
    add("--wacore-hostname", default=os.environ.get("WACORE_HOSTNAME") or "wacore", help="(or WACORE_HOSTNAME)")
    add("--lifeline", type=pathlib.Path, metavar="FILE", help="end when nobody holds the lock on FILE any more")
    command.set_defaults(run=_webapp)


def _add_node(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    environment = os.environ
    add("--store", required=True, type=pathlib.Path, help="shared directory of the client")
    add("--client", default=environment.get("WA_EMULATOR_CLIENT", "client"), help="name in logs (default: %(default)s)")
    add("--name", default=environment.get("COREAPP_HOSTNAME") or environment.get("WACORE_HOSTNAME") or "wacore",
        help="host name (or COREAPP_HOSTNAME, WACORE_HOSTNAME)")  # fmt: skip
    add("--id", help="short id; without it the former one of this host name, or a new one")
    add("--master", action="store_true", default=environment.get("WA_MASTER_NODE") == "1", help="(or WA_MASTER_NODE=1)")
    add("--clustered", action="store_true", default=environment.get("WA_APP_MULTICONNECT") == "1",
        help="high availability or multiconnect (or WA_APP_MULTICONNECT=1)")  # fmt: skip
    add("--db-upgrade", action="store_true", default=environment.get("WA_DB_UPGRADE") == "1",
        help="upgrade the database and exit (or WA_DB_UPGRADE=1)")  # fmt: skip
    add("--node-log", help="file of JSON lines (default: nodes.jsonl in the store)")
    add("--lifeline", type=pathlib.Path, metavar="FILE", help="end when nobody holds the lock on FILE any more")
    command.set_defaults(run=_node)


def _webapp(options: argparse.Namespace) -> int:
    # Nodes do without the HTTP server, and start faster for it.
    from wabiz_emulator import serving

    return asyncio.run(serving.serve(options))


def _node(options: argparse.Namespace) -> int:
    if options.db_upgrade:
        print("database schema is up to date", flush=True)
        return 0
    shared = store.FileStore(options.store)
    log = logs.JsonLines(options.node_log or str(options.store / "nodes.jsonl"))
    kind = "master" if options.master else "coreapp"
    record = node.registered(shared, options.name, kind, options.clustered, options.id)
    record.arguments = [
        "node",
        "--store",
        str(options.store.resolve()),
        "--client",
        options.client,
        "--name",
        options.name,
    ]
    record.arguments += ["--id", record.short_id]
    record.arguments += ["--master"] if options.master else []
    record.arguments += ["--clustered"] if options.clustered else []
    record.arguments += ["--node-log", str(pathlib.Path(options.node_log).resolve())] if options.node_log else []
    record.arguments += ["--lifeline", str(options.lifeline.resolve())] if options.lifeline else []
    node.run(options.client, shared, log, logs.callback_log(options.store), record, options.lifeline)
    return 0


def _act_on_node(options: argparse.Namespace) -> int:
    if options.api_url:
        return _act_on_simulated_node(options)
    shared = store.FileStore(options.store)
    record = processes.node_named(shared, options.name)
    if options.action in ("stop", "restart"):
        processes.stop_node(shared, record, options.timeout)
    if options.action in ("start", "restart"):
        processes.start_node(shared, record.arguments, record)
    print(f"{options.action} {record.name}", flush=True)
    return 0


def _act_on_simulated_node(options: argparse.Namespace) -> int:
    # The other commands do without the HTTP client.
    from wabiz_emulator import control

    with control.Control(options.api_url, options.ca_path) as client:
        records = {name: node["hostname"] for name, node in client.nodes().items()}
        name = processes.unambiguous(records, options.name)
        client.act_on_node(name, options.action)
    print(f"{options.action} {name}", flush=True)
    return 0


def _pki(options: argparse.Namespace) -> int:
    for path in certificates.write_pki(options.directory, options.names):
        print(path)
    return 0


def _fleet(options: argparse.Namespace) -> int:
    fleet.run(options.dir, options.clients, options.switch, options.password or os.environ.get("WA_EMULATOR_PASSWORD"))
    return 0


def _database(options: argparse.Namespace) -> int:
    asyncio.run(database.stand_in(options.host, options.port))
    return 0


def _wait_for_database(options: argparse.Namespace) -> int:
    hostname = os.environ.get("WA_DB_HOSTNAME")
    if hostname and os.environ.get("WA_EMULATOR_SKIP_DB_WAIT") != "1":
        try:
            port = int(os.environ.get("WA_DB_PORT") or options.default_port)
            database.wait(hostname, port, options.timeout, functools.partial(print, file=sys.stderr, flush=True))
        except TimeoutError as error:
            print(error, file=sys.stderr)
            return 1
    return 0
