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
    Used by the role P(wabiz.onprem.wa_settings#role), whose variables it reads. It is documented for those who read
    the role.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.host_part
attributes:
  diff_mode:
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Bring the settings to their declared values
  wabiz.onprem.wa_settings_converge:
  register: __wa_settings_run
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
