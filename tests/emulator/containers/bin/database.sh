#!/bin/sh
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Options of the real database are accepted and mean nothing here.
set -eu
exec python3 -m wabiz_emulator database --host 0.0.0.0 --port "${WA_EMULATOR_DB_PORT:-3306}"
