# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused where it comes in. Pure.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST_NUMBER = 2**31 - 1  # of whole numbers that a client may be given
DEEPEST = 50  # levels of nesting; settings have three


class InvalidOptions(ValueError):
    """The options, or the settings in them, cannot be meant; the message names the option and what to do."""


def is_nested_deeper(value: Any, levels: int = DEEPEST) -> bool:
    """Whether lists and dictionaries are nested deeper than this. Without recursion, which has a limit of its own."""
    layer = [value]
    for _level in range(levels + 1):
        layer = [
            member
            for holder in layer
            if isinstance(holder, (Mapping, list, tuple))
            for member in (holder.values() if isinstance(holder, Mapping) else holder)
        ]
        if not layer:
            return False
    return True
