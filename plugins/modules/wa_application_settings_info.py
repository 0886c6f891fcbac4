#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_application_settings_info
short_description: Read the application settings of a WhatsApp Business On-Premises client
version_added: 0.1.0
description:
  - Reads the settings of C(/v1/settings/application) and changes nothing.
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
seealso:
  - module: wabiz.onprem.wa_application_settings
"""

EXAMPLES = r"""
- name: Read the settings
  wabiz.onprem.wa_application_settings_info:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
  register: wabiz_settings

- name: Show what differs from the defaults
  ansible.builtin.debug:
    var: wabiz_settings.non_default_settings
"""

RETURN = r"""
settings:
  description: The settings as the client reports them, secrets masked, delays as integers and lists sorted.
  returned: success
  type: dict
  sample:
    callback_backoff_delay_ms: 3000
client_version:
  description: Version of the client, without a leading C(v). Null if the client does not report it.
  returned: success
  type: str
  sample: 2.57.2
api_status:
  description: What the client says about its API, such as V(stable). Null if it says nothing.
  returned: success
  type: str
  sample: stable
non_default_settings:
  description: Dotted names and values of the settings that differ from their default, for those whose default is
    certain.
  returned: success
  type: dict
  sample:
    webhooks.max_concurrent_requests: 12
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings_info,
    application_settings_info_spec,
)


def main() -> None:
    run_module(application_settings_info_spec(), application_settings_info)


if __name__ == "__main__":
    main()
