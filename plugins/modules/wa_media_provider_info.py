#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_media_provider_info
short_description: Read the media providers of a WhatsApp Business On-Premises client
version_added: 1.0.0
description:
  - Reads the providers in C(/v1/settings/application/media/providers) and changes nothing.
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
  - module: wabiz.onprem.wa_media_provider
"""

EXAMPLES = r"""
- name: Read the media providers
  wabiz.onprem.wa_media_provider_info:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
  register: wabiz_media

- name: Show their names
  ansible.builtin.debug:
    msg: "{{ wabiz_media.providers | map(attribute='name') | join(', ') }}"
"""

RETURN = r"""
providers:
  description: The providers in the order in which the client lists them, credentials masked.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the provider.
      type: str
      sample: archive
    type:
      description: Kind of the provider.
      type: str
      sample: www
    config:
      description: How the client authenticates, C(basic) with its user name or C(bearer).
      type: dict
      sample:
        basic:
          username: whatsapp
          password: "********"
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import (
    media_provider_info,
    media_provider_info_spec,
)


def main() -> None:
    run_module(media_provider_info_spec(), media_provider_info)


if __name__ == "__main__":
    main()
