# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of the role C(wa_settings): their types and defaults, and what the layers of a declaration say
together.

A variable that is not set, or is C(omit), counts as not given, as with the arguments of a task. Pure.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION as _CONNECTION
from ansible_collections.wabiz.onprem.plugins.module_utils._options import check_shapes
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import dotted, flatten, reports
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import PROVIDER_OPTIONS, read_providers
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, scrub
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import application_settings_spec

PREFIX = "wa_settings_"

CONNECTION = tuple(_CONNECTION)
SETTINGS_LAYERS = ("values", "group_values", "host_values")
EXTRA_LAYERS = ("extra_values", "extra_group_values", "extra_host_values")
OF_MODULE = ("state", "unreported", "restart_bound", "client_version")
_LONGEST = 2**31 - 1


def _plain_option(option: Mapping[str, Any]) -> dict[str, Any]:
    """An option of a module as a variable of the role: what is not given is the module's business."""
    return {name: option[name] for name in ("type", "elements", "choices") if name in option}


_MODULE = application_settings_spec()
_SPEC: dict[str, dict[str, Any]] = {
    **{name: _plain_option(_CONNECTION[name]) for name in CONNECTION},
    **{name: {"type": "dict"} for name in (*SETTINGS_LAYERS, "overrides", *EXTRA_LAYERS)},
    **{name: _plain_option(_MODULE[name]) for name in OF_MODULE},
    "media_providers": {"type": "list", "elements": "dict", "options": PROVIDER_OPTIONS},
    "cluster": {"type": "str"},
    "api_delegate": {"type": "str", "default": "localhost"},
    "restart": {"type": "str", "default": "auto", "choices": ["auto", "always", "never"]},
    "restart_backend": {
        "type": "str",
        "default": "docker",
        "choices": ["docker", "podman", "kubernetes", "command"],
    },
    "restart_masters": {
        "type": "str",
        "default": "auto",
        "choices": ["auto", "true", "false", "True", "False", "yes", "no"],
    },
    "restart_containers": {"type": "list", "elements": "str", "default": []},
    "restart_image_pattern": {"type": "str", "default": r"whatsapp\.biz/coreapp"},
    "restart_command": {"type": "list", "elements": "str", "default": []},
    "restart_stop_timeout": {"type": "int", "default": 60},
    "health_timeout": {"type": "float", "default": 300.0},
    "expect_connected": {"type": "int"},
    "lock_timeout": {"type": "float", "default": 900.0},
    "state_dir": {"type": "str", "default": "/var/lib/wabiz-onprem"},
    "volatile_state": {"type": "bool", "default": False},
    "partial_cluster": {"type": "bool", "default": False},
    "report": {"type": "bool", "default": False},
}
NAMES = tuple(PREFIX + name for name in _SPEC)
_VALIDATOR = ArgumentSpecValidator({PREFIX + name: option for name, option in _SPEC.items()})
# What says something about the containers of one host, and so has to be known of every host of a cluster.
OF_MEMBER = ("restart_backend", "restart_containers", "restart_image_pattern", "restart_command", "state_dir")


class InvalidVariables(ValueError):
    """The role's variables cannot be meant; the message names the variable and what to do."""


def read_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    """The role's variables in their types, without the prefix; None for what is not given. Raises InvalidVariables.

    given: rendered variables in plain types; what is None or an empty text counts as not given.
    """
    said = {name: value for name, value in given.items() if name in NAMES and value is not None and value != ""}
    for name, value in said.items():
        if _SPEC[name[len(PREFIX) :]]["type"] == "list" and isinstance(value, str) and value.lstrip().startswith("["):
            raise InvalidVariables(
                f"{name}: is the text of a list, not a list; inventories in the INI format often make text of it, so "
                "put it into a YAML file such as group_vars/all.yml"
            )
    providers = said.get(PREFIX + "media_providers")
    try:
        if providers is not None and not isinstance(providers, (list, tuple)):
            raise InvalidOptions("has to be a list of dictionaries")
        for one in providers if isinstance(providers, (list, tuple)) else ():
            if not isinstance(one, Mapping):
                raise InvalidOptions("each of them has to be a dictionary")
            check_shapes(PROVIDER_OPTIONS, one)
        validated = _VALIDATOR.validate(said)
        if validated.error_messages:
            raise InvalidVariables(scrub(_named(validated.error_messages[0]), find_secrets(said)))
        read_providers(validated.validated_parameters[PREFIX + "media_providers"] or ())
    except InvalidOptions as problem:
        raise InvalidVariables(f"{PREFIX}media_providers: {problem}") from None
    values = {name: validated.validated_parameters[PREFIX + name] for name in _SPEC}
    for name, least in (
        ("restart_stop_timeout", 0),
        ("health_timeout", 0),
        ("lock_timeout", 0),
        ("expect_connected", 0),
    ):
        number = values[name]
        if number is not None and not least <= number <= _LONGEST:
            raise InvalidVariables(f"{PREFIX}{name}: must be a number from {least} to {_LONGEST}")
    if not str(values["state_dir"]).startswith("/"):
        raise InvalidVariables(
            f"{PREFIX}state_dir: {values['state_dir']} is not an absolute path; give one such as /var/lib/wabiz-onprem"
        )
    return values


def _named(message: str) -> str:
    return message.replace("argument '", "", 1).replace("' is of type", ": is of type", 1)


# --- the layers --------------------------------------------------------------------------------------------------


def _laid_over(below: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Dictionaries merge, everything else is replaced, and a null takes a setting out."""
    together = dict(below)
    for name, value in layer.items():
        if value is None:
            together.pop(name, None)
        elif isinstance(value, Mapping):
            present = together.get(name)
            together[name] = _laid_over(present if isinstance(present, Mapping) else {}, value)
        else:
            together[name] = value
    return together


def _lay(layers: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the layers declare together, and which of them says each leaf: dotted name to the layer's name."""
    declared: dict[str, Any] = {}
    for _name, layer in layers:
        declared = _laid_over(declared, layer)
    origins = {
        dotted(path): name for path, _value in flatten(declared) for name, layer in layers if reports(layer, path)
    }
    return declared, origins


def without_blanks(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Overrides without members that are empty text or null: an unanswered question of a survey arrives as one."""
    kept: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        if isinstance(value, Mapping):
            below = without_blanks(value)
            if below:
                kept[name] = below
        elif value is not None and value != "":
            kept[name] = value
    return kept


def declaration(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The declared settings, the declared extra settings, and the variable that says each of them."""
    layers = [(PREFIX + name, values[name] or {}) for name in SETTINGS_LAYERS]
    settings, origins = _lay([*layers, (PREFIX + "overrides", without_blanks(values["overrides"]))])
    extra, extra_origins = _lay([(PREFIX + name, values[name] or {}) for name in EXTRA_LAYERS])
    return settings, extra, {**extra_origins, **origins}


def declares_anything(settings: Mapping[str, Any], extra: Mapping[str, Any]) -> bool:
    """Whether there is a leaf in what is declared."""
    return bool(extra) or any(value != {} for _path, value in flatten(settings))


def without_omitted(value: Any, omitted: Any) -> Any:
    """A rendered value without what C(omit) stands for, wherever it is; None where it is the whole."""
    if omitted is None:
        return value  # from ansible-core 2.19 on rendering has left it out
    if _is(value, omitted):
        return None
    if isinstance(value, Mapping):
        return {name: without_omitted(member, omitted) for name, member in value.items() if not _is(member, omitted)}
    if isinstance(value, (list, tuple)):
        return [without_omitted(member, omitted) for member in value if not _is(member, omitted)]
    return value


def _is(value: Any, omitted: Any) -> bool:
    # A text before ansible-core 2.19, a single object from then on.
    return value is omitted or (isinstance(omitted, str) and isinstance(value, str) and value == omitted)
