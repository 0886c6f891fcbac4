#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_settings_members
short_description: Find out which hosts share a settings store, and which of them acts for all
version_added: 0.1.0
description:
  - Looks for the hosts of the inventory with the same cluster.
  - One host of a cluster acts for all of them. The first that asks does; the others learn its name.
  - >-
    Used by the role P(wabiz.onprem.wa_settings#role). It is documented for those who read the role; its
    options may change.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.controller_part
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  claim:
    description: What the host wants to do for the cluster. Left empty, it asks nobody and acts.
    type: str
    default: ''
  release:
    description: Whether to give O(claim) back, for the next host that wants to do the same.
    type: bool
    default: false
  backend:
    description: Backend of hosts for which the inventory says nothing else.
    type: str
    required: true
  containers:
    description: >-
      Names of containers. They hold for other hosts only if they were not given for this host in the
      inventory.
    type: list
    elements: str
    required: true
  image_pattern:
    description: Image pattern of hosts for which the inventory says nothing else.
    type: str
    required: true
  command:
    description: Restart command of hosts for which the inventory says nothing else.
    type: list
    elements: str
    required: true
  state_dir:
    description: Directory of the records, of hosts for which the inventory says nothing else.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Find the cluster
  wabiz.onprem.wa_settings_members:
    cluster: "{{ wa_settings_cluster }}"
    backend: docker
    containers: []
    image_pattern: whatsapp\.biz/coreapp
    command: []
    state_dir: /var/lib/wabiz-onprem
"""

RETURN = r"""
leader:
  description: Name of the host that acts.
  returned: success
  type: str
leads:
  description: Whether that is this host.
  returned: success
  type: bool
members:
  description: The hosts of the cluster with their own options, and with C(inside) for those that belong to the play.
  returned: where RV(leads) is true
  type: list
  elements: dict
"""
