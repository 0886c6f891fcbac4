#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_media_provider
short_description: Manage a media provider of a WhatsApp Business On-Premises client
version_added: 0.2.0
description:
  - Sets or removes one of the providers in C(/v1/settings/application/media/providers), the credentials with which the
    client fetches media from web servers. It takes effect without a restart.
  - The client is read before and after a write. A second run changes nothing and writes nothing. Where the answer to a
    write is lost or makes no sense, what is read back decides whether it was done.
  - The client reports the credentials in clear; they are masked in every result. A change of only a secret is a change,
    and the diff has a sign for it.
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
      - Name of the provider, by which messages refer to it. A provider of this name is replaced.
      - Printable text. C(.) and C(..) as a step of a path are refused.
    type: str
    required: true
  type:
    description: Kind of the provider. The API knows one.
    type: str
    choices:
      - www
    default: www
  basic:
    description:
      - Credentials for HTTP Basic authentication.
      - Excludes O(bearer). One of the two is required with O(state=present).
    type: dict
    suboptions:
      username:
        description: Name of the account. It is shown in results.
        type: str
        required: true
      password:
        description: Password of the account.
        type: str
        required: true
  bearer:
    description:
      - A bearer token.
      - Excludes O(basic). One of the two is required with O(state=present).
    type: str
  state:
    description:
      - Whether the provider is there. With V(absent) only O(name) counts.
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

- name: Remove a provider
  wabiz.onprem.wa_media_provider:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    name: cdn
    state: absent
"""

RETURN = r"""
before:
  description: The provider as the client reported it before, credentials masked. Empty where there was none.
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
  description: The provider as the client reported it afterwards, or in check mode as it would. Empty where there is
    none.
  returned: success, and when a write failed
  type: dict
  sample:
    name: archive
    type: www
    config:
      bearer: "********"
outcome_unknown:
  description: Whether nobody can say what has become of a write. Then C(changed) and RV(after) say what it would have
    done.
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
