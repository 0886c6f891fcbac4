#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_settings_converge
short_description: Bring the settings of a client to their declared values, or say what else has to be done
version_added: 0.1.0
description:
  - Does in one task what a host without an owed restart needs. Settings that need a restart are not written here.
  - >-
    Used by the role P(wabiz.onprem.wa_settings#role). It is documented for those who read the role; its
    options may change.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem.api
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  action:
    support: full
    details: >-
      Is an action plugin only. It runs on the controller and needs a POSIX shell on the host to read the
      record of owed restarts there.
  async:
    support: none
  delegation:
    support: full
  platform:
    platforms: posix
options:
  settings:
    description: As in M(wabiz.onprem.wa_application_settings).
    type: dict
  extra_settings:
    description: As in M(wabiz.onprem.wa_application_settings).
    type: dict
  state:
    description: As in M(wabiz.onprem.wa_application_settings).
    type: str
    default: present
    choices: [present, replaced, absent]
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  api_delegate:
    description: >-
      Host that calls the API. Where that is another one than the controller, the decision is left to later
      tasks.
    type: str
    required: true
  restart:
    description: When Coreapps are restarted.
    type: str
    required: true
    choices: [auto, always, never]
  backend:
    description: What runs the containers.
    type: str
    required: true
  state_dir:
    description: Directory of the records on the container host.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Bring the settings to their declared values
  wabiz.onprem.wa_settings_converge:
    api_url: https://wa1.example.com:9090
    password: "{{ wa_password }}"
    settings:
      log_level: warning
    cluster: wa1
    api_delegate: localhost
    restart: auto
    backend: docker
    state_dir: /var/lib/wabiz-onprem
"""

RETURN = r"""
leads:
  description: Whether this host acts for its cluster.
  returned: success
  type: bool
leader:
  description: Name of the host that does.
  returned: success
  type: str
held:
  description: Whether nothing was written because a restart has to be written down first.
  returned: success
  type: bool
owed:
  description: Whether there is a record of an owed restart.
  returned: success
  type: bool
undecided:
  description: Whether the API has to be called by another host.
  returned: success
  type: bool
pending:
  description: Whether further tasks are needed.
  returned: success
  type: bool
"""
