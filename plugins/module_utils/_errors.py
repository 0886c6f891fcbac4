# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with what the user gave.

This module is private to the collection.
"""

from __future__ import annotations


class InvalidOptions(ValueError):
    """The options, or the settings in them, cannot be meant; the message names the option and what to do."""
