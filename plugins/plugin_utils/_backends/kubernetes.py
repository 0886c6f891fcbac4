# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend


class Kubernetes(Backend):
    """To be written."""
