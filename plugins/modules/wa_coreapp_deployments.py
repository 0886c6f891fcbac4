#!/usr/bin/python
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_coreapp_deployments
short_description: Find the Deployments of Kubernetes that run Coreapps, and what they owe
version_added: 0.1.0
description:
  - >-
    Picks Coreapps and masters out of what M(kubernetes.core.k8s_info) has answered, and reads the records of
    owed restarts among their annotations.
  - Nothing of a pod's environment is in the result.
  - >-
    Used by the role P(wabiz.onprem.wa_settings#role). It is documented for those who read the role; its options may
    change.
author:
  - wabiz.onprem contributors (@wabiz)
extends_documentation_fragment:
  - wabiz.onprem._attributes
  - wabiz.onprem._attributes.controller_part
options:
  answers:
    description: Results of M(kubernetes.core.k8s_info) with Deployments and pods.
    type: list
    elements: dict
    required: true
  names:
    description:
      - Deployments as C(name), C(namespace/name) or C(label=value).
      - Left empty, they are found by image, and by the names and labels of Meta's templates.
    type: list
    elements: str
    default: []
  image_pattern:
    description: Regular expression that is searched for in the name of the image.
    type: str
    default: whatsapp\.biz/coreapp
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  only_if_owed:
    description: Whether to name Deployments only where a restart is owed.
    type: bool
    default: false
  change:
    description: A change of the records. Left out, none is worked out.
    type: dict
    suboptions:
      state:
        description: As in M(wabiz.onprem.wa_restart_debt).
        type: str
        required: true
        choices: [recorded, written, paid]
      containers:
        description: The Deployments to add or to strike out.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the Deployment, with its namespace.
            type: str
            required: true
          id:
            description: Its uid.
            type: str
            default: ''
          kind:
            description: What runs in it.
            type: str
            default: coreapp
            choices: [coreapp, master]
      settings:
        description: Dotted names of the settings that need the restart.
        type: list
        elements: str
        default: []
      connected_before:
        description: How many Coreapps of the cluster were connected before the first restart.
        type: int
      written:
        description: With O(change.state=recorded), whether what needs the restart is already in place.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Ask for the Deployments
  kubernetes.core.k8s_info:
    api_version: apps/v1
    kind: Deployment
    namespace: whatsapp
  register: deployments
  no_log: true

- name: Find the Coreapps among them
  wabiz.onprem.wa_coreapp_deployments:
    answers: ["{{ deployments }}"]
    cluster: wa1
"""

RETURN = r"""
containers:
  description:
    - Deployments with Coreapps and masters, as containers in M(wabiz.onprem.wa_coreapp_containers).
    - C(replicas), C(surges) and C(paused) are theirs alone.
  returned: success
  type: list
  elements: dict
debt:
  description:
    - What they owe together, or null. Its C(containers) and C(settings) are null where a record could not be read.
  returned: success
  type: dict
patches:
  description: What to write, as C(name) of the Deployment, with its namespace, and C(definition) to patch it with.
  returned: where O(change) is given
  type: list
  elements: dict
"""
