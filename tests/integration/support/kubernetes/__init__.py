# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes to test against: etcd, API server and controllers on this machine, and a small kubelet of ours.

`control_plane` starts the real programs. `kubelet` makes each pod a node of an emulated client. `manifests` has the
shapes in which people deploy clients, `releases` the clients that tests deploy.
"""
