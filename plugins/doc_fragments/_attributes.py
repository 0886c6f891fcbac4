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
    description: Can run in check mode and return what would change without changing it.
  diff_mode:
    description: Returns what has changed, or would change, under C(--diff).
  idempotent:
    description: Run again with the same parameters, it changes nothing.
  action:
    description: Has an action plugin of the same name on the controller.
  async:
    description: Supports C(async).
  delegation:
    description: Can be used together with C(delegate_to).
  platform:
    description: Systems on which the module runs.
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Is in the action group C(group/wabiz.onprem.api), for use with C(module_defaults).
    support: full
    membership:
      - wabiz.onprem.api
"""
