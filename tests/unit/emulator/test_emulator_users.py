# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User administration: /v1/users."""

from __future__ import annotations

import json
from typing import Any

import pytest
from emulated import PASSWORD, Api, error_codes

USERS = "/v1/users"
WEAK = "lower-case-1"
META = {"version": "v2.57.2", "api_status": "stable"}


def headers_of(api: Api, username: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.control.token(username)}"}


def create(api: Api, username: str = "metrics", **body: Any) -> Any:
    return api.call("POST", USERS, json={"username": username, "password": "Created-1", **body})


def test_a_user_is_created_shown_changed_and_deleted(api: Api) -> None:
    created = create(api)
    assert (created.status_code, created.json()) == (201, {"users": [{"username": "metrics"}], "meta": META})
    assert api.call("GET", USERS).json()["users"] == [
        {"username": "admin", "ROLES": "ROLE_ADMIN"},
        {"username": "metrics", "ROLES": "ROLE_USER"},
    ]
    assert api.call("GET", f"{USERS}/metrics").json()["users"] == [{"username": "metrics", "ROLES": "ROLE_USER"}]
    headers = {"Authorization": f"Bearer {api.login('metrics', 'Created-1').json()['users'][0]['token']}"}
    changed = api.call("PUT", f"{USERS}/metrics", json={"password": "Changed-1"})
    assert (changed.status_code, changed.json()["users"]) == (200, [{"username": "metrics"}])
    assert api.login("metrics", "Created-1").status_code == 401
    assert api.login("metrics", "Changed-1").status_code == 200
    # Meta's page: a new password leaves the tokens as they are; a deleted user has none.
    assert api.call("GET", "/v1/health", headers=headers).status_code == 200
    deleted = api.call("DELETE", f"{USERS}/metrics")
    assert (deleted.status_code, deleted.json()["users"]) == (200, [{"username": "metrics"}])
    assert api.login("metrics", "Changed-1").status_code == 401
    assert api.call("GET", "/v1/health", headers=headers).status_code == 401
    assert error_codes(api.call("GET", f"{USERS}/metrics")) == [1006]


def test_the_role_can_be_given_and_changed(api: Api) -> None:
    assert create(api, ROLES="ROLE_ADMIN").status_code == 201
    settings = "/v1/settings/application"
    assert api.call("GET", settings, headers=headers_of(api, "metrics")).status_code == 200
    assert api.call("PUT", f"{USERS}/metrics", json={"ROLES": "ROLE_USER"}).status_code == 200
    assert api.call("GET", settings, headers=headers_of(api, "metrics")).status_code == 403
    assert api.login("metrics", "Created-1").status_code == 200


def test_users_look_after_themselves_only(api: Api) -> None:
    create(api)
    create(api, "other")
    own = headers_of(api, "metrics")
    assert api.call("GET", f"{USERS}/metrics", headers=own).status_code == 200
    assert api.call("PUT", f"{USERS}/metrics", headers=own, json={"password": "Changed-1"}).status_code == 200
    for method, path, body in (
        ("GET", USERS, None),
        ("POST", USERS, {"username": "third", "password": "Created-1"}),
        ("GET", f"{USERS}/other", None),
        ("PUT", f"{USERS}/other", {"password": "Changed-1"}),
        ("PUT", f"{USERS}/metrics", {"ROLES": "ROLE_ADMIN"}),
        ("DELETE", f"{USERS}/other", None),
        ("DELETE", f"{USERS}/metrics", None),
    ):
        answer = api.call(method, path, headers=own, json=body)
        assert (answer.status_code, error_codes(answer)) == (403, [1005])
        assert api.call(method, path, headers={}, json=body).status_code == 401


def test_only_the_built_in_admin_creates_and_deletes(api: Api) -> None:
    create(api, "second", ROLES="ROLE_ADMIN")
    second = headers_of(api, "second")
    assert error_codes(api.call("DELETE", f"{USERS}/second", headers=second)) == [1005]
    body = {"username": "third", "password": "Created-1"}
    assert error_codes(api.call("POST", USERS, headers=second, json=body)) == [1005]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", USERS, {"username": "metrics"}, 1008),
        ("POST", USERS, {"password": "Created-1"}, 1008),
        ("POST", USERS, {"username": "abc", "password": "Created-1"}, 1009),
        ("POST", USERS, {"username": "a" * 33, "password": "Created-1"}, 1009),
        ("POST", USERS, {"username": "metrics", "password": WEAK}, 1009),
        ("POST", USERS, {"username": "metrics", "password": "Created-1", "ROLES": "KING"}, 1009),
        ("POST", USERS, {"username": "admin", "password": "Created-1"}, 1004),
        ("POST", USERS, [], 1025),
        ("PUT", f"{USERS}/admin", {}, 1008),
        ("PUT", f"{USERS}/admin", {"password": WEAK}, 1009),
        ("PUT", f"{USERS}/admin", {"ROLES": "ROLE_USER"}, 1009),
        ("PUT", f"{USERS}/nobody", {"password": "Created-1"}, 1006),
        ("DELETE", f"{USERS}/admin", None, 1009),
        ("DELETE", f"{USERS}/nobody", None, 1006),
        ("DELETE", f"{USERS}/", None, 1006),
    ],
)
def test_what_is_refused(api: Api, method: str, path: str, body: Any, code: int) -> None:
    answer = api.call(method, path, json=body)
    assert error_codes(answer) == [code]
    assert answer.status_code == (404 if code == 1006 else 400)
    assert [user["username"] for user in api.call("GET", USERS).json()["users"]] == ["admin"]
    assert api.login("admin", PASSWORD).status_code == 200


def test_names_are_decoded_and_passwords_stay_out_of_the_log(api: Api) -> None:
    create(api, "a b/c%d")
    assert api.call("DELETE", f"{USERS}/a%20b%2Fc%25d").status_code == 200
    assert "Created-1" not in json.dumps(api.control.requests())
