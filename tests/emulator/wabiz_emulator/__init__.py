# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

__doc__ = (
    """An emulator of the WhatsApp Business On-Premises client: Webapp, Coreapps and masters around one shared store."""
)
