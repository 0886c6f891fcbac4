#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_health_info
short_description: Read the health of a WhatsApp Business On-Premises client, or wait for it
version_added: 0.1.0
description:
  - Reads C(/v1/health) and changes nothing.
  - With O(wait=true) it polls until the client is as healthy as expected, and fails if that does not happen in time.
    Meanwhile errors of the server (HTTP 5xx) and others that may pass are waited out.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem.api
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.api_module
attributes:
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  wait:
    description:
      - Whether to poll until the client is as healthy as O(expect_connected) and O(expect_nodes) say.
      - Waiting does not help a client without a registered phone number to become connected. In that case the task
        fails at once.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds after which the task gives up and fails. A single poll may take as long as what is left of this time,
        and at least one second.
    type: float
    default: 300.0
  wait_interval:
    description: Seconds between two polls.
    type: float
    default: 2.0
  expect_connected:
    description:
      - How many Coreapp nodes have to be connected. If it is not given, one is enough, also in a cluster.
      - V(0) is for clients without a registered phone number. They are healthy as soon as they answer.
    type: int
  expect_nodes:
    description:
      - For clusters, names of nodes that have to be listed, and be either connected or stand-by.
    type: list
    elements: str
    default: []
seealso:
  - module: wabiz.onprem.wa_application_settings
"""

EXAMPLES = r"""
- name: Read the health
  wabiz.onprem.wa_health_info:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"

- name: Wait until two Coreapps are connected
  wabiz.onprem.wa_health_info:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    wait: true
    wait_timeout: 120
    expect_connected: 2
  register: wabiz_health

- name: Show the nodes
  ansible.builtin.debug:
    msg: "{{ item.name or 'Coreapp' }}: {{ item.gateway_status }}"
  loop: "{{ wabiz_health.nodes }}"
"""

RETURN = r"""
nodes:
  description: The nodes as the client lists them. Empty if the Coreapp does not answer.
  returned: success, and when a wait was given up
  type: list
  elements: dict
  contains:
    name:
      description: Host name and short container ID. Null for the node of a single instance.
      type: str
      sample: wacore1:9dfe77618dba
    role:
      description: One of V(coreapp), V(primary_master) and V(secondary_master).
      type: str
      sample: coreapp
    gateway_status:
      description: One of V(connected), V(connecting), V(disconnected), V(uninitialized) and V(unregistered).
      type: str
      sample: connected
connected_coreapps:
  description: How many Coreapp nodes are connected.
  returned: success, and when a wait was given up
  type: int
  sample: 2
clustered:
  description: Whether the client is a cluster, with high availability or multiconnect.
  returned: success, and when a wait was given up
  type: bool
  sample: true
shards:
  description: The number of shards of a cluster. Null for a single instance, and if the client does not report it.
  returned: success, and when a wait was given up
  type: int
  sample: 2
healthy:
  description: Whether the client is as healthy as expected.
  returned: success, and when a wait was given up
  type: bool
  sample: true
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._health import health_info, health_info_spec
from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module


def main() -> None:
    run_module(health_info_spec(), health_info)


if __name__ == "__main__":
    main()
