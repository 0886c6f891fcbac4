#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_garbage_collection
short_description: Start the garbage collection of a WhatsApp Business On-Premises client
version_added: 1.0.0
description:
  - Starts the services C(/v1/services/message/gc) and C(/v1/services/media/gc), which delete old messages and media of
    the client.
  - The client works in the background. Only its webhook is told when a collection has ended and whether it failed, so
    the module cannot report that. If there is no webhook, nobody is told, and the module warns of that.
  - The module also warns if the client is older than 2.49, and if it collects garbage by itself anyway. To find that
    out, it needs an account with the admin role.
  - If the answer to a start is lost, the start is not repeated, and RV(outcome_unknown) is set.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem.api
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.api_module
attributes:
  check_mode:
    details: Reads the settings of the client for the warnings, and starts nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Each run starts a collection.
options:
  targets:
    description: What to collect, in this order.
    type: list
    elements: str
    choices:
      - message
      - media
    default:
      - message
      - media
seealso:
  - module: wabiz.onprem.wa_application_settings
"""

EXAMPLES = r"""
- name: Collect messages and media
  wabiz.onprem.wa_garbage_collection:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"

- name: Collect messages only
  wabiz.onprem.wa_garbage_collection:
    api_url: https://wa1.example.com:9090
    password: "{{ wabiz_password }}"
    targets: [message]
  register: wabiz_collection

- name: Show what each node answered
  ansible.builtin.debug:
    msg: "{{ item.name or 'the client' }}: {{ item.status }}"
  loop: "{{ wabiz_collection.nodes }}"
"""

RETURN = r"""
nodes:
  description: What was started, in the order of O(targets). Empty in check mode, since the nodes are not known then.
  returned: success, and when something was started before a failure
  type: list
  elements: dict
  contains:
    name:
      description: Host name and short container ID of the node in a cluster. Null if the client answers as a whole.
      type: str
      sample: wacore1:9dfe77618dba
    target:
      description: V(message) or V(media).
      type: str
      sample: message
    status:
      description: What the client answered to the start.
      type: str
      sample: processing
msg:
  description: A reminder that only the webhook is told when a collection has ended; or what went wrong.
  returned: always
  type: str
  sample: started; the client tells the end of a collection to its webhook only
outcome_unknown:
  description: Whether it is unknown if the last service that was asked for has started.
  returned: when the answer to a start was lost
  type: bool
  sample: true
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._collection import (
    garbage_collection,
    garbage_collection_spec,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module


def main() -> None:
    run_module(garbage_collection_spec(), garbage_collection)


if __name__ == "__main__":
    main()
