# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a client is reached; the options of module_utils/_options.py."""

    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - Base address of the client's Webapp, such as V(https://wa1.example.com:9090).
      - May carry a path prefix, for reverse proxies and gateways. Must not carry user info, a query or a fragment, and
        ends before C(/v1).
      - An empty string counts as not given, here and for the other options of the connection.
      - If it is not given, the environment variable E(WABIZ_API_URL) is used.
    type: str
    required: true
  username:
    description:
      - Account to log in with. Reading and changing settings needs an account with the admin role.
      - If it is not given, the environment variable E(WABIZ_USERNAME) is used.
    type: str
    default: admin
  password:
    description:
      - Password of the account. The task logs in with it, and logs out again.
      - Excludes O(token). One of the two is required, unless O(headers) authenticate.
      - If neither is given, the environment variable E(WABIZ_PASSWORD) is used. An option wins over the environment,
        also where the other of the two comes from there.
    type: str
  token:
    description:
      - A ready bearer token. With it there is no login and no logout.
      - Excludes O(password). One of the two is required, unless O(headers) authenticate.
      - If neither is given, the environment variable E(WABIZ_TOKEN) is used.
    type: str
  validate_certs:
    description:
      - Whether the certificate of the client has to be valid.
      - If it is not given, the environment variable E(WABIZ_VALIDATE_CERTS) is used.
    type: bool
    default: true
  ca_path:
    description:
      - PEM file with the certificates of the authorities to trust. Wins over E(REQUESTS_CA_BUNDLE) and
        E(CURL_CA_BUNDLE).
      - If it is not given, the environment variable E(WABIZ_CA_PATH) is used.
    type: path
  timeout:
    description:
      - Seconds that one whole request may take, from connecting to the last byte of the answer. Only looking up the
        host's name is left to the system.
    type: float
    default: 30.0
  retries:
    description:
      - Extra attempts after a fault that may pass, such as a refused connection, too many requests or a Coreapp that is
        just starting. The pause between them grows from half a second, or is what the client asks for, up to a minute.
      - Before a write is repeated, the client is read again.
    type: int
    default: 4
  use_proxy:
    description:
      - Whether E(HTTPS_PROXY), E(HTTP_PROXY), E(ALL_PROXY) and E(NO_PROXY) are honoured. Never for a loopback address.
    type: bool
    default: true
  headers:
    description:
      - Headers that go with every request, such as the key that a gateway or a reverse proxy in front asks for. The
        values are secret.
      - With them neither O(password) nor O(token) has to be given; then there is no login, and nothing else
        authenticates.
      - C(Authorization) does not go with O(password) or O(token). C(Host), C(Connection), C(Transfer-Encoding) and
        C(Content-*) cannot be chosen.
    type: dict
  allow_http:
    description:
      - Whether O(api_url) may be a plain C(http://) address of a host that is not loopback. It would send the
        password in clear.
    type: bool
    default: false
requirements:
  - Python 3.9 or newer where the module runs
  - requests
"""
