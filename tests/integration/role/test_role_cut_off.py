# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The play is killed at every step; a plain second run brings every node to the declared values."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS, Deployment, NewDeployment, apply

VALUES = {"log_level": "warning", "webhooks": {"max_concurrent_requests": 12}}
HOSTS = {"a": ["wacore1", "wacore2"], "b": ["wacore3"]}
NODES = 3

# Every task that changes something or waits, and how often it runs: twice a record for each host, once for each node.
RECORD, WRITE, NOTIFY = "Write the record of owed restarts", "Write the settings", "Have the Coreapps restarted"
RESTART, WAIT, STRIKE = (
    "Stop and start the node",
    "Wait until the cluster is healthy again",
    "Strike it out of the record",
)
STEPS = {RECORD: 2 * len(HOSTS), WRITE: 1, NOTIFY: 1, RESTART: NODES, WAIT: NODES, STRIKE: NODES}
CUTS = [
    *(f"{count} 0 {name}" for name, times in STEPS.items() for count in range(1, times + 1)),
    *(f"{count} 0.15 {name}" for name in (WRITE, RESTART, WAIT) for count in range(1, STEPS[name] + 1)),
]


def _cut_and_repeat(cut: str, cluster: Deployment, place: Path) -> list[str]:
    """What is wrong after a run that was cut off and a plain second one."""
    cluster.forget()
    first = apply(AnsibleCommands(place / "1"), [cluster], VALUES, environment={"WABIZ_CUT": cut})
    if first.rc != -9:
        return [f"was not cut off:\n{first.output}"]
    second = apply(AnsibleCommands(place / "2"), [cluster], VALUES)
    starts = Counter(cluster.starts())
    wrong = {
        f"the second run failed:\n{second.output}": second.rc != 0,
        f"runs with {cluster.running('log_level')}": cluster.running("log_level") != {"warning"},
        f"starts: {starts}": set(starts) != {"wacore1", "wacore2", "wacore3"} or max(starts.values(), default=0) > 2,
        f"more than one restart too many: {starts}": starts.total() > NODES + 1,
        f"left over: {cluster.leftovers()}": bool(cluster.leftovers()),
        f"writes: {cluster.writes()}": cluster.writes() != [f"PATCH {SETTINGS}"],
    }
    return [problem for problem, found in wrong.items() if found]


def test_nothing_is_forgotten_wherever_the_play_is_killed(
    new_cluster: NewDeployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Ansible keeps a socket in its temporary directory, and a socket's path may not be long.
    place = tmp_path_factory.mktemp("cut")
    clusters = {cut: new_cluster(f"c{number}", HOSTS) for number, cut in enumerate(CUTS)}
    with ThreadPoolExecutor(2) as workers:
        jobs = {
            cut: workers.submit(_cut_and_repeat, cut, cluster, place / cluster.name)
            for cut, cluster in clusters.items()
        }
    problems = [f"{cut}: {problem}" for cut, job in jobs.items() for problem in job.result()]
    assert not problems, "\n".join(problems)
