# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The attributes that all modules share."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode, and returns what would change without changing it.
  diff_mode:
    description: With C(--diff), returns what has changed or would change.
  idempotent:
    description: If it runs again with the same parameters, it changes nothing.
  action:
    description: Has an action plugin of the same name on the controller.
  async:
    description: Supports C(async).
  delegation:
    description: Can be used together with C(delegate_to).
  platform:
    description: Systems on which the module runs.
"""

    # What the modules have in common that call the API.
    API_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
  action:
    support: full
    details: With a local connection, and if nothing asks for another process, the work is done inside the controller
      process.
  async:
    support: full
  delegation:
    support: full
  platform:
    platforms: all
    support: full
  action_group:
    description: Is in the action group C(group/wabiz.onprem.api), for use with C(module_defaults).
    support: full
    membership:
      - wabiz.onprem.api
"""

    # What the parts of the role have in common that work on the controller alone.
    CONTROLLER_PART = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
  action:
    support: full
    details: Is an action plugin only. It runs on the controller and needs no connection.
  async:
    support: none
  delegation:
    support: full
  platform:
    platforms: all
    support: full
"""

    # What the parts of the role have in common that reach out to a container host.
    HOST_PART = r"""
options: {}
attributes:
  check_mode:
    support: full
  idempotent:
    support: full
  action:
    support: full
    details: Is an action plugin only. It runs on the controller and needs a POSIX shell on the host.
  async:
    support: none
  delegation:
    support: full
  platform:
    platforms: posix
    support: full
"""
