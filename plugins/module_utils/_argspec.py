# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs of the modules, and what the options of a connection mean together.

This module is private to the collection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import env_fallback
from ansible.module_utils.errors import AnsibleFallbackNotFound, UnsupportedError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, RESTART_BOUND, Key, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Connection, check_address, is_token

Spec = dict[str, Any]

_LONGEST_TIMEOUT = 86_400  # seconds; sockets refuse much longer ones in words that do not help


def _environment(name: str) -> Any:
    """As C(env_fallback) does it, but what is empty counts as not set."""
    value = env_fallback(name)
    if not value:
        raise AnsibleFallbackNotFound
    return value


API: Spec = {
    "api_url": {"type": "str", "required": True, "fallback": (_environment, ["WABIZ_API_URL"])},
    "username": {"type": "str", "default": "admin", "fallback": (_environment, ["WABIZ_USERNAME"])},
    # No fallback here: an explicit token must win over a password from the environment and the other way round,
    # and behind a fallback nobody can tell them apart any more. read_connection looks into the environment.
    "password": {"type": "str", "no_log": True},
    "token": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "default": True, "fallback": (_environment, ["WABIZ_VALIDATE_CERTS"])},
    "ca_path": {"type": "path", "fallback": (_environment, ["WABIZ_CA_PATH"])},
    "timeout": {"type": "float", "default": 30.0},
    "retries": {"type": "int", "default": 4},
    "use_proxy": {"type": "bool", "default": True},
    "allow_http": {"type": "bool", "default": False},
}


class InvalidOptions(ValueError):
    """The options do not fit together; the message names the option and what to do."""


def _option(key: Key) -> Spec:
    if key.kind is Kind.BOOLEAN:
        return {"type": "bool"}
    if key.kind is Kind.TEXT_SET:
        return {"type": "list", "elements": "str", "choices": list(key.choices)}
    option: Spec = {"type": "int" if key.kind in (Kind.COUNT, Kind.MILLISECONDS) else "str"}
    if key.choices:
        option["choices"] = list(key.choices)
    if key.secret:
        option["no_log"] = True
    return option


def _options_of_settings() -> Spec:
    """The catalogue as nested suboptions."""
    options: Spec = {}
    for name, key in KEYS.items():
        *groups, leaf = name.split(".")
        level = options
        for group in groups:
            level = level.setdefault(group, {"type": "dict", "options": {}})["options"]
        level[leaf] = _option(key)
    return options


SETTINGS = _options_of_settings()
# ansible-test takes no argument that is called "message", at whatever depth. The group that has one is a plain dict in
# the module's spec, wholly secret so that the address in it stays out of the system log, and read_settings checks it.
_WEBHOOKS = ArgumentSpecValidator(SETTINGS.pop("webhooks")["options"])
SETTINGS["webhooks"] = {"type": "dict", "no_log": True}


def application_settings() -> Spec:
    return {
        **API,
        "settings": {"type": "dict", "options": SETTINGS},
        "extra_settings": {"type": "dict"},
        "state": {"type": "str", "default": "present", "choices": ["present", "replaced", "absent"]},
        "unreported": {"type": "str", "default": "send", "choices": ["send", "skip"]},
        "restart_bound": {"type": "list", "elements": "str", "default": list(RESTART_BOUND)},
        "client_version": {"type": "str"},
    }


def application_settings_info() -> Spec:
    return dict(API)


def health_info() -> Spec:
    return {
        **API,
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "float", "default": 300.0},
        "wait_interval": {"type": "float", "default": 2.0},
        "expect_connected": {"type": "int"},
        "expect_nodes": {"type": "list", "elements": "str", "default": []},
    }


def read_settings(settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The option C(settings), C(webhooks) validated as Ansible validates the others. Raises InvalidOptions."""
    webhooks = (settings or {}).get("webhooks")
    if settings is None or webhooks is None:
        return settings
    validated = _WEBHOOKS.validate(dict(webhooks))
    if validated.error_messages:
        error = validated.errors[0]
        problem = "unsupported parameters: " if isinstance(error, UnsupportedError) else ""
        raise InvalidOptions(f"settings.webhooks: {problem}{error.msg}")
    return {**settings, "webhooks": validated.validated_parameters}


def read_connection(params: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Connection:
    """The options of a connection, checked; an empty string counts as not given. Raises InvalidOptions."""

    environ = os.environ if environ is None else environ

    def given(option: str) -> str | None:
        return params.get(option) or environ.get(f"WABIZ_{option.upper()}") or None

    password, token = params.get("password") or None, params.get("token") or None
    if password and token:
        raise InvalidOptions("password and token exclude each other; give one of them")
    if not password and not token:
        password, token = environ.get("WABIZ_PASSWORD") or None, environ.get("WABIZ_TOKEN") or None
        if password and token:
            raise InvalidOptions(
                "WABIZ_PASSWORD and WABIZ_TOKEN exclude each other; set one of them, or give password or token"
            )
    if not password and not token:
        raise InvalidOptions(
            "password or token: one of them is needed (or WABIZ_PASSWORD or WABIZ_TOKEN in the environment)"
        )
    if token:
        token = str(token).strip()
        if not is_token(token):
            raise InvalidOptions("token: must be printable ASCII without blanks")
    if not 0 < params["timeout"] <= _LONGEST_TIMEOUT:
        raise InvalidOptions(f"timeout: must be more than 0 and at most {_LONGEST_TIMEOUT} seconds")
    if params["retries"] < 0:
        raise InvalidOptions("retries: must not be negative")
    api_url = given("api_url")
    if api_url is None:
        raise InvalidOptions("api_url: is needed (or WABIZ_API_URL in the environment)")
    try:
        api_url = check_address(api_url, params["allow_http"])
    except ValueError as error:
        raise InvalidOptions(str(error)) from None
    ca_path = given("ca_path")
    return Connection(
        api_url=api_url,
        username=given("username") or "admin",
        password=str(password) if password else None,
        token=token,
        validate_certs=boolean(params["validate_certs"]),
        # As Ansible expands options of type path: an unknown account stays as it is.
        ca_path=os.path.expanduser(os.path.expandvars(ca_path)) if ca_path else None,  # noqa: PTH111
        timeout=float(params["timeout"]),
        retries=int(params["retries"]),
        use_proxy=params["use_proxy"],
        allow_http=params["allow_http"],
    )
