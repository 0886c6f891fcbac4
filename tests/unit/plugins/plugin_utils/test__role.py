# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._role import in_words_of_the_role, with_origin

ORIGINS = {
    "log_level": "wa_settings_values",
    "log_levl": "wa_settings_host_values",
    "webhooks.url": "wa_settings_group_values",
}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("webhooks.url: must begin with https://", "wa_settings_group_values"),
        (
            "Unsupported: settings.log_levl. Supported parameters include: log_level",
            "wa_settings_host_values",
        ),
        ("log_levels: nobody's", ""),
        ("PATCH https://wa1/v1/settings/application: answered 400", ""),
    ],
)
def test_the_variable_that_says_a_setting_is_named(message: str, said: str) -> None:
    found = with_origin(message, ORIGINS)
    assert found == (f"{message} (declared in {said})" if said else message)


def test_an_option_of_the_module_is_a_variable_of_the_role() -> None:
    assert in_words_of_the_role("timeout: must be more than 0") == "wa_settings_timeout: must be more than 0"
    assert in_words_of_the_role("nothing: of this kind") == "nothing: of this kind"
