# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl

from wabiz_emulator import accounts, certificates, clients, logs, server, store, switches

LIFELINE_CHECK = 0.5


async def serve(options: argparse.Namespace) -> int:
    """The command `webapp`: serve until SIGTERM or SIGINT; the exit code."""
    tls = _tls(options)
    state = store.first_state()
    _configure(options, state)
    names = [f"c{number:04}" for number in range(1, options.clients + 1)] if options.clients else [options.client]
    loop = asyncio.get_running_loop()
    request_log, node_log = (
        logs.JsonLines(options.request_log, remember=True),
        logs.JsonLines(options.node_log, remember=True),
    )
    every: dict[str, clients.Client] = {}
    for name in names:
        if options.store is None:
            every[name] = clients.in_memory(
                name,
                state,
                request_log,
                node_log,
                loop.call_later,
                options.api_key,
                options.wacore_hostname,
                options.nodes.split(","),
            )
            continue
        shared = store.FileStore(options.store / name if options.clients else options.store, lambda: state)
        with shared.change() as present:
            _configure(options, present)
        every[name] = clients.on_disk(
            name,
            shared,
            request_log if options.request_log else None,
            logs.JsonLines(options.node_log) if options.node_log else None,
            options.api_key,
            options.wacore_hostname,
        )
    if options.web_log:
        web_log = logs.JsonLines(options.web_log)
        for client in every.values():
            client.web_log = web_log
    if options.token:
        _write_token(options, next(iter(every.values())).store.read())
    urls, scheme = [], "https" if tls else "http"
    if options.prefix:
        _server, port = server.listen(server.by_prefix(every), options.host, options.port, tls)
        urls.append(f"{scheme}://{options.host}:{port}")
    else:
        for number, client in enumerate(every.values()):
            wanted = options.port + number if options.port else 0
            _server, port = server.listen(server.one_client(client), options.host, wanted, tls)
            urls.append(f"{scheme}://{options.host}:{port}")
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    print("ready", *urls, flush=True)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), LIFELINE_CHECK if options.lifeline else None)
        except asyncio.TimeoutError:
            if not store.lock_is_held(options.lifeline):
                return 1
    return 0


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.http:
        return None
    if options.self_signed:
        if options.store is None:
            raise ValueError("--self-signed needs --store")
        return certificates.server_context(*certificates.self_signed(options.store / "tls", options.self_signed))
    if not (options.tls_cert and options.tls_key):
        raise ValueError("one of --http, --self-signed, or --tls-cert with --tls-key is needed")
    return certificates.server_context(options.tls_cert, options.tls_key)


def _configure(options: argparse.Namespace, state: store.State) -> None:
    from_environment = json.loads(os.environ.get("WA_EMULATOR_SWITCHES") or "{}")
    state.switches = state.switches.changed(from_environment).changed(switches.from_text(options.switch))
    password = options.password or os.environ.get("WA_EMULATOR_PASSWORD")
    if password:
        state.users[options.username] = accounts.user(password, owes_change=options.owes_change)


def _write_token(options: argparse.Namespace, state: store.State) -> None:
    text, _token = accounts.issue(options.username, state.token_key, state.switches.token_seconds)
    with open(options.token, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(f"{text}\n")
