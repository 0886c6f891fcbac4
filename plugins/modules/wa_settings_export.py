#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_settings_export
short_description: Read all settings of a client for the playbook export
version_added: 1.0.0
description:
  - A part of the playbook C(wabiz.onprem.export), which calls it where the API is reached from another host only.
  - In plays of your own, M(wabiz.onprem.wa_application_settings_info) and M(wabiz.onprem.wa_media_provider_info) read
    the same without secrets.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem.api
  - wabiz.onprem._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
  action:
    support: full
    details: In a play, the action of this name is a part of the playbook C(wabiz.onprem.export).
  async:
    support: none
  delegation:
    support: full
  platform:
    platforms: all
    support: full
seealso:
  - module: wabiz.onprem.wa_application_settings_info
  - module: wabiz.onprem.wa_media_provider_info
"""

EXAMPLES = r"""
# ansible-playbook -i inventory wabiz.onprem.export
"""

RETURN = r"""
reading:
  description: The settings and media providers in clear, as JSON in Base64. Keep it out of the output with C(no_log).
  returned: success
  type: str
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module
from ansible_collections.wabiz.onprem.plugins.module_utils._reading import read_all, reading_spec


def main() -> None:
    run_module(reading_spec(), read_all)


if __name__ == "__main__":
    main()
