#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_media_provider
short_description: Manage a media provider of a WhatsApp Business On-Premises client
version_added: 1.0.0
description:
  - Sets or removes one of the providers in C(/v1/settings/application/media/providers), the credentials with which the
    client fetches media from web servers. It takes effect without a restart.
  - The client is read before and after a write. A second run changes nothing and writes nothing. If the answer to a
    write is lost or makes no sense, what is read back decides whether the write took effect.
  - The client reports the credentials in clear; they are masked in every result. If only a secret changes, that counts
    as a change too, and the diff says so.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem.api
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.api_module
attributes:
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the provider, which messages refer to. If there is one of this name, it is replaced.
      - Printable text. Names with C(.) or C(..) as a step of a path are refused.
    type: str
    required: true
  type:
    description: Kind of the provider. The API knows only this one.
    type: str
    choices:
      - www
    default: www
  basic:
    description:
      - Credentials for HTTP Basic authentication.
      - Mutually exclusive with O(bearer). One of the two is required with O(state=present).
    type: dict
    suboptions:
      username:
        description: Name of the account. Results show it.
        type: str
        required: true
      password:
        description: Password of the account.
        type: str
        required: true
  bearer:
    description:
      - A bearer token.
      - Mutually exclusive with O(basic). One of the two is required with O(state=present).
    type: str
  state:
    description:
      - Whether the provider should exist. With V(absent) only O(name) matters.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: wabiz.onprem.wa_media_provider_info
  - module: wabiz.onprem.wa_application_settings
"""

EXAMPLES = r"""
# Keep the credentials in a vault, for example with ansible-vault encrypt_string.
- name: Set a provider with a password
  wabiz.onprem.wa_media_provider:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    name: archive
    basic:
      username: whatsapp
      password: "{{ archive_password }}"

- name: Set a provider with a bearer token
  wabiz.onprem.wa_media_provider:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    name: cdn
    bearer: "{{ cdn_token }}"

- name: Find out whether a provider would change, without changing it
  wabiz.onprem.wa_media_provider:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    name: cdn
    bearer: "{{ cdn_token }}"
  check_mode: true
  diff: true
  register: wabiz_preview

- name: Remove a provider
  wabiz.onprem.wa_media_provider:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    name: cdn
    state: absent
"""

RETURN = r"""
before:
  description: The provider as the client reported it before, credentials masked. Empty if there was none.
  returned: success, and when a write failed
  type: dict
  sample:
    name: archive
    type: www
    config:
      basic:
        username: whatsapp
        password: "********"
after:
  description: The provider as the client reported it afterwards, or in check mode as it would. Empty if there is
    none.
  returned: success, and when a write failed
  type: dict
  sample:
    name: archive
    type: www
    config:
      bearer: "********"
outcome_unknown:
  description: Whether it is unknown if a write took effect. C(changed) and RV(after) then say what it would have
    changed.
  returned: when a write failed and could not be read back
  type: bool
  sample: true
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import media_provider, media_provider_spec


def main() -> None:
    run_module(media_provider_spec(), media_provider)


if __name__ == "__main__":
    main()
