# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of wabclient, by the interpreter that has it: address, CA and calls as JSON on stdin, results on stdout."""

from __future__ import annotations

import json
import sys

import requests
import wabclient

order = json.load(sys.stdin)
session = requests.Session()
session.trust_env = False
session.verify = order["ca"]
client = wabclient.Client(order["url"], session=session)
results = []
for name, *arguments in order["calls"]:
    try:
        method = getattr(client if name == "healthcheck" else client.config, name)
        results.append(method(*arguments))
    except requests.HTTPError as error:
        results.append({"status": error.response.status_code, "body": error.response.text})
print(json.dumps(results, default=str))
