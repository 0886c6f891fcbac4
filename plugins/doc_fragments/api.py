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
      - May contain a path prefix, for reverse proxies and gateways. Must not contain user info, a query or a fragment,
        and ends before C(/v1).
      - An empty string counts as not given, here and for the other connection options.
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
      - Mutually exclusive with O(token). One of the two is required, unless O(headers) authenticate.
      - If neither is given, the environment variable E(WABIZ_PASSWORD) is used. An option wins over the environment,
        even if the environment has the other of the two.
    type: str
  token:
    description:
      - A bearer token that was obtained before. With it there is no login and no logout.
      - Mutually exclusive with O(password). One of the two is required, unless O(headers) authenticate.
      - If neither is given, the environment variable E(WABIZ_TOKEN) is used.
    type: str
  validate_certs:
    description:
      - Whether to verify the client's certificate.
      - If it is not given, the environment variable E(WABIZ_VALIDATE_CERTS) is used.
    type: bool
    default: true
  ca_path:
    description:
      - PEM file with the certificates of the authorities to trust. Takes precedence over E(REQUESTS_CA_BUNDLE) and
        E(CURL_CA_BUNDLE).
      - If it is not given, the environment variable E(WABIZ_CA_PATH) is used.
    type: path
  timeout:
    description:
      - Seconds that one whole request may take, from connecting to the last byte of the answer. Only the lookup of the
        host's name has the time limit of the system.
    type: float
    default: 30.0
  retries:
    description:
      - Extra attempts after a fault that may pass, such as a refused connection, too many requests or a Coreapp that is
        just starting. The pause between them grows from half a second, or is as long as the client asks for, up to a
        minute.
      - Before a write is repeated, the client is read again.
    type: int
    default: 4
  use_proxy:
    description:
      - Whether to honour E(HTTPS_PROXY), E(HTTP_PROXY), E(ALL_PROXY) and E(NO_PROXY). A loopback address is never
        reached through a proxy.
    type: bool
    default: true
  headers:
    description:
      - Headers to send with every request, such as the key that a gateway or a reverse proxy asks for. The values are
        secret.
      - With headers, neither O(password) nor O(token) is required. If neither is given, there is no login, and only the
        headers authenticate.
      - C(Authorization) cannot be combined with O(password) or O(token). C(Host), C(Connection), C(Transfer-Encoding)
        and C(Content-*) cannot be set.
    type: dict
  allow_http:
    description:
      - Whether O(api_url) may be a plain C(http://) address of a host that is not loopback. The password would be sent
        in clear.
    type: bool
    default: false
requirements:
  - Python 3.9 or newer where the module runs
  - requests
"""
