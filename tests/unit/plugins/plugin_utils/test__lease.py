# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils import _lease
from ansible_collections.wabiz.onprem.plugins.plugin_utils._lease import is_gone, new_lease


def test_a_lease_of_this_process_is_held() -> None:
    lease = new_lease(30.0)
    assert (lease.seconds, lease.renewal) == (30.0, 0)
    assert lease.process.startswith(f"{os.getpid()}/")
    assert not is_gone(lease)
    assert new_lease(30.0).token != lease.token
    assert new_lease(30.0).run == lease.run


def test_a_process_that_has_ended_is_gone() -> None:
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        process = _lease._process(child.pid)
        assert process is not None
        lease = replace(new_lease(1.0), process=process)
        assert not is_gone(lease)
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(lease), "a zombie holds nothing"
    assert is_gone(lease)


def test_an_id_that_was_given_out_again_is_another_process() -> None:
    lease = new_lease(1.0)
    assert is_gone(replace(lease, process=f"{os.getpid()}/1"))


@pytest.mark.parametrize(
    "facts",
    [
        {"machine": "another one", "process": "1/1"},
        {"process": f"{os.getpid()}/"},
        {"process": ""},
    ],
)
def test_in_doubt_the_holder_lives(facts: dict[str, Any]) -> None:
    assert not is_gone(replace(new_lease(1.0), **facts))


def test_what_is_no_process_id_is_gone() -> None:
    assert is_gone(replace(new_lease(1.0), process="x/1"))
