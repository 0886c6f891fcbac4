#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_coreapp_containers
short_description: Find the Coreapp containers of a host, and what they owe
version_added: 0.1.0
description:
  - Asks the container engine's command line for Coreapps and masters, and reads the record of restarts that they owe.
  - Of a container's environment nothing but two flags leaves the engine.
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
  backend:
    description: What runs the containers. With V(command) nobody is asked, and O(names) are the nodes.
    type: str
    required: true
    choices: [docker, podman, command]
  names:
    description: >-
      Names of the containers, as Compose 1 or Compose 2 writes them. Left empty, they are found by image and
      Compose service.
    type: list
    elements: str
    default: []
  image_pattern:
    description: Regular expression that is searched for in the name of the image.
    type: str
    default: whatsapp\.biz/coreapp
  only_if_owed:
    description: Whether to ask the engine only where a restart is owed.
    type: bool
    default: false

  state_dir:
    description: Directory of the records on the container host.
    type: str
    required: true
  cluster:
    description: Name of the cluster; each has a record of its own.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Look at the Coreapps
  wabiz.onprem.wa_coreapp_containers:
    backend: docker
    state_dir: /var/lib/wabiz-onprem
    cluster: wa1
"""

RETURN = r"""
containers:
  description: Coreapps and masters, stopped ones included; upgrade jobs are left out.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the container.
      type: str
    id:
      description: Full id of the container, or an empty text.
      type: str
    kind:
      description: V(coreapp) or V(master).
      type: str
    state:
      description: State as the engine calls it.
      type: str
    alive:
      description: Whether it runs.
      type: bool
    started:
      description: When it was started last, in seconds since the epoch by the host's clock, or null.
      type: float
debt:
  description: >-
    The record of the owed restart, or null. Its C(containers) and C(settings) are null where it could not be
    read.
  returned: success
  type: dict
"""
