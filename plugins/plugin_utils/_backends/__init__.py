# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs Coreapps, one file each: how nodes are found, what their incarnation is, and how one is restarted.

A new backend is a file with a subclass of Backend, a line in BACKENDS, a choice of C(wa_settings_restart_backend) in
the role's argument spec, and its documentation.

This module is private to the collection.
"""

from __future__ import annotations

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.command import Command
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.engine import Docker, Podman
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.kubernetes import Kubernetes

BACKENDS: dict[str, type[Backend]] = {
    "docker": Docker,
    "podman": Podman,
    "kubernetes": Kubernetes,
    "command": Command,
}

__all__ = ["BACKENDS", "Backend", "Problem"]
