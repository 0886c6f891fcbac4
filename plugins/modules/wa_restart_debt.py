#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_restart_debt
short_description: Write down, on a container host, which Coreapps still owe a restart
version_added: 0.1.0
description:
  - Keeps one small file for each cluster, readable by its owner only, with names and without values.
  - The file goes when the last container is struck out.
  - >-
    Used by the role P(wabiz.onprem.wa_settings#role). It is documented for those who read the role; its
    options may change.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.host_part
attributes:
  diff_mode:
    support: none
options:
  state_dir:
    description: Directory of the records on the container host.
    type: str
    required: true
  cluster:
    description: Name of the cluster; each has a record of its own.
    type: str
    required: true

  state:
    description:
      - V(recorded) adds O(containers) and O(settings) to the record.
      - >-
        V(written) notes that the settings have been written by now, by the host's clock. Containers that
        start later owe nothing.
      - V(paid) strikes out O(containers).
    type: str
    required: true
    choices: [recorded, written, paid]
  containers:
    description: The containers to add or to strike out.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container.
        type: str
        required: true
      id:
        description: Its full id, where it has one.
        type: str
        default: ''
      kind:
        description: What runs in it.
        type: str
        default: coreapp
        choices: [coreapp, master]
  settings:
    description: Dotted names of the settings that need the restart.
    type: list
    elements: str
    default: []
  connected_before:
    description: How many Coreapps of the cluster were connected before the first restart.
    type: int
  written:
    description: With O(state=recorded), whether what needs the restart is already in place.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Note a restart that is owed
  wabiz.onprem.wa_restart_debt:
    state_dir: /var/lib/wabiz-onprem
    cluster: wa1
    state: recorded
    containers:
      - name: biz-wacore-1
    settings: [log_level]
"""

RETURN = r"""
debt:
  description: >-
    The record of the owed restart, or null. Its C(containers) and C(settings) are null where it could not be
    read.
  returned: success
  type: dict
"""
