# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._media import combined, keep_by_modules

WANTED = [{"name": "a", "bearer": "canary-a", "basic": None}, {"name": "b", "bearer": "canary-b", "basic": None}]


class _Modules:
    """A client behind modules. fails: the name of a provider that cannot be set."""

    def __init__(self, present: Mapping[str, Any], fails: str | None = None) -> None:
        self.present = dict(present)
        self.calls: list[dict[str, Any]] = []
        self._fails = fails

    def __call__(self, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if module == "wa_media_provider_info":
            if self._fails == "info":
                return {"failed": True, "msg": "away", "changed": False}
            return {"changed": False, "providers": [{"name": name} for name in self.present]}
        assert module == "wa_media_provider"
        assert None not in options.values()
        self.calls.append(dict(options))
        name, wanted = options["name"], options.get("bearer")
        if name == self._fails:
            return {"failed": True, "msg": "no", "changed": False, "invocation": options}
        before = self.present.pop(name, None)
        if wanted is not None:
            self.present[name] = wanted
        diff = {"before": {"name": name}, "after": {}}
        return {"changed": before != wanted, "diff": diff, "warnings": [f"about {name}"], "invocation": options}


def test_these_and_no_others() -> None:
    modules = _Modules({"a": "canary-a", "b": "canary-old", "c\nd": "canary-c"})
    found = keep_by_modules(modules, WANTED)
    assert modules.present == {"a": "canary-a", "b": "canary-b"}
    assert modules.calls[-1] == {"name": "c\nd", "state": "absent"}
    assert (found["changed"], found["changed_settings"]) == (True, ["media.providers.b", "media.providers.c d"])
    assert found["warnings"] == ["about a", "about b", "about c\nd"]
    assert len(found["diff"]) == 3
    assert "canary" not in str(found)
    again = keep_by_modules(modules, WANTED)
    assert (again["changed"], again["changed_settings"]) == (False, [])


@pytest.mark.parametrize(
    ("fails", "changed", "left"), [("info", [], {"c"}), ("a", [], {"c"}), ("b", ["media.providers.a"], {"a", "c"})]
)
def test_the_first_failure_ends_it(fails: str, changed: list[str], left: set[str]) -> None:
    modules = _Modules({"c": "canary-c"}, fails)
    found = keep_by_modules(modules, WANTED)
    assert (found["failed"], found["msg"]) == (True, "away" if fails == "info" else "no")
    assert (found.get("changed_settings", []), found["changed"]) == (changed, bool(changed))
    assert modules.present.keys() == left
    assert "canary" not in str(found)


def test_two_results_as_one() -> None:
    settings = {"changed": True, "changed_settings": ["log_level"], "diff": {"before": 1, "after": 2}, "after": {}}
    beside = {"changed": False, "changed_settings": [], "diff": {"before": 3, "after": 3}, "warnings": ["w"], "x": 1}
    assert combined(settings, beside) == {
        "changed": True,
        "changed_settings": ["log_level"],
        "diff": [settings["diff"], beside["diff"]],
        "after": {},
        "warnings": ["w"],
    }
    failed = {"changed": True, "changed_settings": ["a"], "failed": True, "msg": "no", "outcome_unknown": True}
    assert combined({"changed": False}, failed) == failed
