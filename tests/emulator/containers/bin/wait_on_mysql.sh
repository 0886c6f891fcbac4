#!/bin/sh
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
python3 -m wabiz_emulator wait-for-database --default-port 3306
exec "$@"
