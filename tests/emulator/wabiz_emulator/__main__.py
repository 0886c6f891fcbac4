# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from wabiz_emulator import commands


def main(arguments: Sequence[str] | None = None) -> int:
    # A parent that has blocked signals hands that on; the commands here decide for themselves.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    parser = commands.parser()
    options = parser.parse_args(arguments)
    try:
        result: int = options.run(options)
        return result
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
