# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small stand-in for Kubernetes, to test against. It is not the real control plane.

`api_server` speaks what the role uses of the API: objects with resource versions, merge and strategic merge patches,
dry runs, rights by token. `deployment_controller` follows the real rules of a roll-out. `kubelet` makes each pod a node
of an emulated client, through the real Python client.
"""
