# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.wabiz.onprem.plugins.module_utils._providers import (
    media_provider_info,
    media_provider_info_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectAction, DirectFlow


class ActionModule(DirectAction):
    direct = DirectFlow(media_provider_info_spec(), media_provider_info)
