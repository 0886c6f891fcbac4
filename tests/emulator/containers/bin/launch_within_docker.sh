#!/bin/sh
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
store="${WA_EMULATOR_STORE:-/usr/local/wamedia/emulator}"
# The engine names a container's host by its short id, which a restart keeps and a new container changes.
short_id="$(cut -c1-12 /etc/hostname)"

if [ "${WA_EMULATOR_IMAGE}" = coreapp ]; then
    exec python3 -m wabiz_emulator node --store "${store}" --id "${short_id}"
fi

set -- webapp --host 0.0.0.0 --port 443 --store "${store}" --web-log /var/log/whatsapp/web.log \
    --switch "client_version=${WA_EMULATOR_CLIENT_VERSION}" --switch "expires_on=${WA_EMULATOR_EXPIRES_ON}"
if [ -n "${WA_EMULATOR_TLS_CERT:-}" ]; then
    set -- "$@" --tls-cert "${WA_EMULATOR_TLS_CERT}" --tls-key "${WA_EMULATOR_TLS_KEY}"
else
    set -- "$@" --self-signed "${short_id}"
    for name in waweb ${WEBAPP_HOSTNAME:-} ${WA_WEB_SERVERNAME:-} ${WA_EMULATOR_TLS_NAMES:-}; do
        set -- "$@" --self-signed "${name}"
    done
fi
exec python3 -m wabiz_emulator "$@"
