#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_application_settings
short_description: Manage the application settings of a WhatsApp Business On-Premises client
version_added: 0.1.0
description:
  - Brings the settings of C(/v1/settings/application) to the declared values, and nothing else. A second run changes
    nothing and writes nothing.
  - Every write is read back. If the client did not accept a setting, the task fails. If the answer to a write is lost
    or makes no sense, what is read back decides whether the write took effect.
  - Some settings take effect only when the Coreapp containers are restarted. The module says so in
    RV(restart_required); the role P(wabiz.onprem.wa_settings#role) restarts them.
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
    support: partial
    details: Settings that the client does not report are sent on every run, unless the default is wanted. See
      O(unreported).
options:
  settings:
    description:
      - The wanted settings, nested as in the API. Settings that are not named are left alone.
      - To leave a setting out under a condition, use C(omit). Null is refused for a setting with fixed choices; any
        other setting is left alone if it is null.
      - Settings that are newer than the client are refused.
    type: dict
    suboptions:
      callback_backoff_delay_ms:
        description:
          - Milliseconds to wait before a failed callback is tried again. The wait grows by this value with each
            failure.
          - A positive whole number. Default of the client is V(3000).
        type: int
      max_callback_backoff_delay_ms:
        description:
          - Milliseconds at which O(settings.callback_backoff_delay_ms) stops growing.
          - A positive whole number. Default of the client is V(900000).
        type: int
      callback_persist:
        description:
          - Whether callbacks are kept on disk until the webhook has acknowledged them.
          - Default of the client is V(true). Takes effect when the Coreapp is restarted.
        type: bool
      heartbeat_interval:
        description:
          - Seconds between the master's checks of its Coreapp nodes, in high availability.
          - A positive whole number. Default of the client is V(5).
        type: int
      unhealthy_interval:
        description:
          - Seconds without an answer after which the master considers a node unhealthy, in high availability.
          - A positive whole number. Default of the client is V(30).
        type: int
      media:
        description: Settings of media.
        type: dict
        suboptions:
          auto_download:
            description:
              - Kinds of media to download automatically. Order and repetition do not matter.
            type: list
            elements: str
            choices:
              - audio
              - document
              - image
              - sticker
              - video
              - voice
      webhooks:
        description: Settings of the webhook.
        type: dict
        suboptions:
          url:
            description:
              - The C(https://) address that callbacks are sent to. If it is empty, there is no webhook, and callbacks
                are dropped.
              - The query, the fragment and the user info of the address are secret and masked in every result. The path
                stays readable, so do not put a shared secret there.
              - A masked value that was copied from a result is refused.
            type: str
          max_concurrent_requests:
            description:
              - How many callbacks may be sent at the same time.
              - Default of the client is V(6). Takes effect when the Coreapp is restarted.
            type: int
            choices:
              - 6
              - 12
              - 18
              - 24
          message:
            description: Which statuses of a message are reported to the webhook. From client version 2.41.2.
            type: dict
            suboptions:
              sent:
                description: Whether V(sent) is reported. Default of the client is V(true).
                type: bool
              delivered:
                description: Whether V(delivered) is reported. Default of the client is V(true).
                type: bool
              read:
                description: Whether V(read) is reported. Default of the client is V(true).
                type: bool
      notify_user_change_number:
        description:
          - Whether the system notice C(user_changed_number) is sent.
          - Sources disagree about the default of the client.
        type: bool
      show_security_notifications:
        description:
          - Whether the webhook is told when a contact's identity may have changed. Messages to that contact are held
            back until the change is confirmed.
          - Default of the client is V(false).
        type: bool
      axolotl_context_striping_disabled:
        description:
          - Turns off an optimization that opens more database connections. From client version 2.25.
          - Default of the client is V(false). Takes effect when the Coreapp is restarted.
          - The samples in the API's documentation do not contain it, see O(unreported).
        type: bool
      skip_referral_media_download:
        description:
          - Whether to skip downloading the picture or video of the ad that a user came from.
          - Default of the client is V(false).
          - The samples in the API's documentation do not contain it, see O(unreported).
        type: bool
      garbagecollector_enable:
        description: Automatic garbage collection. From client version 2.49.1.
        type: dict
        suboptions:
          messages:
            description:
              - Whether old messages are deleted. Recommended, except during large campaigns.
              - Default of the client is V(true). Takes effect when the Coreapp is restarted.
            type: bool
          media:
            description:
              - Whether old media are deleted.
              - Default of the client is V(false). Takes effect when the Coreapp is restarted.
            type: bool
      db_garbagecollector_enable:
        description:
          - The older switch for deleting old messages. Deprecated from client version 2.49 in favour of
            O(settings.garbagecollector_enable.messages).
          - Takes effect when the Coreapp is restarted.
        type: bool
      verbose_logging:
        description:
          - Whether the Coreapp logs in great detail, for tests only. O(settings.log_level) is ignored while it is on.
            From client version 2.51.1.
          - Default of the client is V(false). Takes effect when the Coreapp is restarted.
        type: bool
      log_level:
        description:
          - How much the Coreapp logs. From client version 2.51.1.
          - Default of the client is V(info). Takes effect when the Coreapp is restarted.
        type: str
        choices:
          - info
          - warning
          - error
          - fatal
      pass_through:
        description:
          - Whether a message is deleted from the local database once it is delivered or read. V(false) is
            recommended; otherwise status callbacks do not work as intended.
          - Cannot be switched on from client version 2.35 on.
          - Default of the client is V(false). Takes effect when the Coreapp is restarted.
        type: bool
      sent_status:
        description:
          - Older form of O(settings.webhooks.message.sent). Deprecated.
          - Sources disagree about the default of the client.
        type: bool
      webhook_payload_conversation_pricingmodel_disabled:
        description:
          - Whether conversation and pricing data are left out of status notices. Deprecated from client version 2.39.
          - Default of the client is V(false).
        type: bool
  extra_settings:
    description:
      - Settings that this collection does not know. They are sent as given, merged into what the client reports.
    type: dict
  state:
    description:
      - V(present) changes the named settings only.
      - V(replaced) changes the named settings, and puts every other documented setting back to its default. It leaves
        alone what has no certain default (such as the webhook URL), what is deprecated and what the client does not
        report.
      - V(absent) puts everything back to the defaults of the client, if a setting with a certain default differs from
        it, or if a webhook URL is set. The result shows what the client reports before and after. Check mode predicts
        the documented defaults, and warns of the settings that have none.
    type: str
    default: present
    choices:
      - present
      - replaced
      - absent
  unreported:
    description:
      - What to do with a wanted setting that the client does not report.
      - V(send) compares it with its documented default and sends it if it differs.
      - V(skip) leaves it alone, with a warning.
    type: str
    default: send
    choices:
      - send
      - skip
  restart_bound:
    description:
      - Dotted names of the settings that take effect only when the Coreapp is restarted. The name of a group stands for
        all settings in it.
      - The default is every setting for which any part of the API's documentation says so.
    type: list
    elements: str
    default:
      - axolotl_context_striping_disabled
      - callback_persist
      - db_garbagecollector_enable
      - garbagecollector_enable.media
      - garbagecollector_enable.messages
      - log_level
      - pass_through
      - verbose_logging
      - webhooks.max_concurrent_requests
  client_version:
    description:
      - Version of the client, for clients that do not report it.
    type: str
notes:
  - C(webhooks.url) and other addresses are shown without their query and user info. Values under names such as
    C(token), C(api-key) or C(pin) are not shown at all.
  - The API has no ETag or the like, so nobody can write a setting only if it is unchanged since it was read. A changed
    setting is sent together with the whole group that it is in. If somebody else changes that group between the reading
    and the writing, their change is undone. The module reads right before each attempt to write, so that this window is
    as short as one request. Let only one program at a time write to a client.
seealso:
  - module: wabiz.onprem.wa_application_settings_info
  - module: wabiz.onprem.wa_health_info
"""

EXAMPLES = r"""
# Keep the password in a vault. This prints what goes into your variables:
#   ansible-vault encrypt_string --stdin-name wabiz_password
- name: Set the webhook, and allow more concurrent callbacks
  wabiz.onprem.wa_application_settings:
    api_url: https://wa1.example.com:9090
    ca_path: /etc/ssl/wabiz-ca.pem
    password: "{{ wabiz_password }}"
    settings:
      callback_backoff_delay_ms: 5000
      webhooks:
        url: https://hooks.example.com/wa
        max_concurrent_requests: 12
  register: wabiz_result

- name: Say what has to restart
  ansible.builtin.debug:
    msg: "Restart the Coreapps for {{ wabiz_result.restart_settings | join(', ') }}"
  when: wabiz_result.restart_required

- name: Give the connection once, for all modules of the collection
  module_defaults:
    group/wabiz.onprem.api:
      api_url: https://wa1.example.com:9090
      ca_path: /etc/ssl/wabiz-ca.pem
      password: "{{ wabiz_password }}"
  block:
    - name: See what would change, in check mode
      wabiz.onprem.wa_application_settings:
        settings:
          log_level: warning
      check_mode: true
      diff: true
      register: wabiz_preview

    # The handler is part of the role wabiz.onprem.wa_settings, which the play has to use as well.
    - name: Change it, and restart the Coreapps one at a time at the end of the play
      wabiz.onprem.wa_application_settings:
        settings:
          log_level: warning
      when: wabiz_preview.changed_settings | length > 0
      notify: wabiz restart coreapp

- name: Keep everything at its default except for these two
  wabiz.onprem.wa_application_settings:
    api_url: https://wa1.example.com:9090
    token: "{{ wabiz_token }}"
    state: replaced
    settings:
      log_level: warning
      heartbeat_interval: 10

- name: Reset everything to the defaults
  wabiz.onprem.wa_application_settings:
    api_url: https://wa1.example.com:9090
    token: "{{ wabiz_token }}"
    state: absent

- name: Set something that this collection does not know
  wabiz.onprem.wa_application_settings:
    api_url: https://wa1.example.com:9090
    token: "{{ wabiz_token }}"
    extra_settings:
      new_switch: true
"""

RETURN = r"""
before:
  description: The settings as the client reported them, secrets masked, delays as integers and lists sorted.
  returned: when the client could be read
  type: dict
  sample:
    callback_backoff_delay_ms: 3000
    webhooks:
      max_concurrent_requests: 6
      url: https://hooks.example.com/wa?********
after:
  description: The settings as the client reports them afterwards, in the same form. In check mode, what it would
    report.
  returned: when the client could be read
  type: dict
  sample:
    callback_backoff_delay_ms: 5000
    webhooks:
      max_concurrent_requests: 12
      url: https://hooks.example.com/wa?********
changed_settings:
  description: Dotted names of the settings that changed, sorted.
  returned: when the client could be read
  type: list
  elements: str
  sample:
    - callback_backoff_delay_ms
    - webhooks.max_concurrent_requests
restart_required:
  description: Whether a setting changed that takes effect only when the Coreapp is restarted.
  returned: when the client could be read
  type: bool
  sample: true
restart_settings:
  description: Dotted names of the settings that need the restart.
  returned: when the client could be read
  type: list
  elements: str
  sample:
    - webhooks.max_concurrent_requests
unverified_settings:
  description: Dotted names of the settings that were sent although the client does not report them.
  returned: when the client could be read
  type: list
  elements: str
  sample: []
outcome_unknown:
  description:
    - Whether it is unknown if what was sent has taken effect, or may still do so. The task has failed then, and
      C(changed), RV(changed_settings) and RV(restart_settings) say what it would have changed.
  returned: when the answer to a write was lost, and the settings could not be read back
  type: bool
  sample: true
client_version:
  description: Version of the client, without a leading C(v). Null if it is not known.
  returned: when the client could be read
  type: str
  sample: 2.57.2
"""

from ansible_collections.wabiz.onprem.plugins.module_utils._module import run_module
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)


def main() -> None:
    run_module(application_settings_spec(), application_settings)


if __name__ == "__main__":
    main()
