#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_restart_plan
short_description: Work out which containers of a cluster restart, and in which order
version_added: 0.1.0
description:
  - Coreapps come first, then masters, the primary one last.
  - Fails where a restart would be owed by containers that nobody knows.
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
  looks:
    description: What was seen on each host, as C(member) and C(look).
    type: list
    elements: dict
    required: true
  settings:
    description: Dotted names of settings that are about to be written and need the restart.
    type: list
    elements: str
    default: []
  everything:
    description: Whether all Coreapps are to restart.
    type: bool
    default: false
  masters:
    description: Whether masters restart too. With V(auto) they do when C(garbagecollector_enable.media) changes.
    type: str
    default: auto
  health:
    description: What M(wabiz.onprem.wa_health_info) returned before.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Plan the restarts
  wabiz.onprem.wa_restart_plan:
    cluster: wa1
    looks: []
"""

RETURN = r"""
writes:
  description: Changes of the records on the hosts, as options of M(wabiz.onprem.wa_restart_debt) with C(host).
  returned: success
  type: list
  elements: dict
nodes:
  description: What restarts, in order.
  returned: success
  type: list
  elements: dict
connected:
  description: How many Coreapps are connected, or about to be; null where the client does not tell.
  returned: success
  type: int
expect_connected:
  description: How many connected Coreapps to wait for after each restart; null where nobody can tell.
  returned: success
  type: int
"""
