# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes one site of README, guides and the generated reference: `make docs`."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

project = "wabiz.onprem"
author = "wabiz.onprem contributors"
html_title = project
html_favicon = "icon.svg"
html_show_copyright = False
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
default_role = "any"
myst_heading_anchors = 4
html_use_index = False
html_copy_source = False
html_show_sphinx = False

# What the reference says of Ansible itself. Its inventory of labels lies on the network, where a build must not depend.
ANSIBLE_DOCS = "https://docs.ansible.com/ansible/latest/"
LABELS = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def _ansible_label(_app: Any, _env: Any, node: Any, content: Any) -> Any:
    page = LABELS.get(node["reftarget"])
    return page and nodes.reference("", "", content, refuri=ANSIBLE_DOCS + page)


def _without_contents(_app: Any, _page: str, source: list[str]) -> None:
    """The theme has a list of the headings beside each page; antsibull-docs writes another into it."""
    source[0] = re.sub(r"^\.\. contents::\n(?:   .*\n)+", "", source[0], flags=re.MULTILINE)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _without_contents)
    app.connect("missing-reference", _ansible_label)
