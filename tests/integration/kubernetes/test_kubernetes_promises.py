# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role promises on Kubernetes, as people deploy clients there: told by the wire, the pods and the summary."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.kubernetes.manifests import NO_STRATEGY, NO_SURGE, RECREATE, SURGE, Manifests, helm, meta, meta_single
from support.kubernetes.releases import RIGHTS, NewRelease, Release, apply_on_kubernetes

VALUES: dict[str, Any] = {"log_level": "warning"}
NEVER = {"wa_settings_restart": "never"}
TELL = "Tell the summary"
# Puts the summary on record, for every host that came through.
SUMMARIZED = {"post_tasks": [{"name": TELL, "ansible.builtin.debug": {"var": "wa_settings_summary"}}]}


def run_role(ansible: AnsibleCommands, releases: list[Release], *arguments: str, **keywords: Any) -> CommandRun:
    """Run the role with VALUES, or with other `values`."""
    values = keywords.pop("values", VALUES)
    return apply_on_kubernetes(ansible, releases, values, *arguments, play=SUMMARIZED, **keywords)


def summary(run: CommandRun, release: Release) -> dict[str, Any]:
    """What the run said of a client at the end."""
    found: dict[str, Any] = run.result(TELL, release.name)["wa_settings_summary"]
    return found


def words(run: CommandRun) -> str:
    """What the run printed, without its line breaks."""
    return " ".join(run.output.split())


def untouched(release: Release) -> bool:
    """Nothing was written and nothing restarted since the logs were cleared."""
    return (release.writes(), release.restarted()) == ([], {})


def together(*releases: Manifests) -> Manifests:
    """Several Deployments of one client: the objects of all, at the first one's store."""
    return Manifests(releases[0].database, tuple(each for release in releases for each in release.objects))


# a. Only Recreate waits for the end of the old pod.


def test_outside_a_cluster_nothing_but_recreate_is_accepted(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    strategies = {"no-surge": NO_SURGE, "surge": SURGE, "no-strategy": NO_STRATEGY}
    releases = [new_release(f"a-refused-{name}", meta_single(strategy)) for name, strategy in strategies.items()]
    for arguments in (("--check",), ()):
        run = run_role(ansible, releases, *arguments)
        assert run.rc != 0
        assert words(run).count("the strategy Recreate") >= len(releases), run.output
        for release in releases:
            assert run.stats()[release.name]["failures"] == 1, run.output
            assert f"{release.namespace}/coreapp" in words(run)
            assert untouched(release)


def test_slow_end_of_the_old_pod_never_makes_two_coreapps(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("a-slow", meta_single(RECREATE, grace=20))
    release.hosting.stop_seconds = 5
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, 0)
    assert release.running("log_level") == {"warning"}


@pytest.mark.parametrize("name", mostly("surge", rest=["none"]))
def test_in_a_cluster_the_strategy_is_the_users(ansible: AnsibleCommands, new_release: NewRelease, name: str) -> None:
    strategies = {"surge": SURGE, "none": NO_SURGE}
    release = new_release(f"a-cluster-{name}", meta(2, 1, strategies[name], readiness=True))
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert (release.restarted(), release.running("log_level")) == ({"coreapp": 2}, {"warning"})


# b. What the kubelet reports late pays for nothing.


def test_start_before_the_change_that_is_reported_after_it_pays_nothing(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("b-late", meta_single())
    release.hosting.report_seconds = 600
    release.begin_restart("coreapp")
    _started(release)
    run = run_role(ansible, [release], variables=NEVER)
    assert release.running("log_level") != {"warning"}
    release.hosting.report_seconds = 0
    release.wait()
    again = run_role(ansible, [release])
    assert again.rc == 0, again.output
    assert release.running("log_level") == {"warning"}, run.output + again.output


@pytest.mark.thorough
def test_crash_before_the_change_that_is_reported_after_it_pays_nothing(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("b-crash", meta_single())
    (pod,) = release.pods("coreapp")
    release.hosting.report_seconds, release.hosting.back_off_seconds = 600, 0.2
    release.kubelet.crash(pod["metadata"]["name"])
    _started(release)
    run = run_role(ansible, [release], variables=NEVER)
    release.hosting.report_seconds = 0
    time.sleep(1)
    again = run_role(ansible, [release])
    assert again.rc == 0, again.output
    assert release.running("log_level") == {"warning"}, run.output + again.output


@pytest.mark.thorough
def test_pod_that_was_made_after_the_change_owes_nothing(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("b-new", meta_single())
    assert run_role(ansible, [release], variables=NEVER).rc == 0
    (pod,) = release.pods("coreapp")
    release.api.delete(f"/api/v1/namespaces/b-new/pods/{pod['metadata']['name']}")
    _started(release)
    release.wait()
    release.forget()
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert release.restarted() == {}
    assert not summary(run, release)["pending"]


def _started(release: Release) -> None:
    end = time.monotonic() + 30
    while not release.starts():
        assert time.monotonic() < end, "no node started"
        time.sleep(0.1)


# c. Whose record, and when it counts as done.


def test_two_releases_in_one_namespace_without_names_are_refused(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    east = new_release("c-east", helm("c-east"), "c-unnamed")
    west = new_release("c-west", helm("c-west"), "c-unnamed")
    for arguments in (("--check",), ()):
        run = run_role(ansible, [east, west], *arguments)
        assert run.rc != 0
        assert "wa_settings_restart_containers" in words(run)
        assert all(f"{name}-whatsapp-coreapp" in words(run) for name in ("c-east", "c-west")), run.output
        assert (untouched(east), untouched(west)) == (True, True)


def test_two_releases_in_one_namespace_keep_apart_what_is_pending(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    releases = []
    for name in ("c-north", "c-south"):
        named = {"wa_settings_restart_containers": [f"{name}-whatsapp-coreapp"]}
        releases.append(new_release(name, helm(name), "c-named", **named))
    north, south = releases
    assert run_role(ansible, releases, variables=NEVER).rc == 0
    assert (north.restarted(), south.restarted()) == ({}, {})

    only_south = run_role(ansible, [south])
    assert only_south.rc == 0, only_south.output
    assert (north.restarted(), south.restarted()) == ({}, {"c-south-whatsapp-coreapp": 1})

    both = run_role(ansible, releases)
    assert both.rc == 0, both.output
    assert (north.restarted(), south.restarted()) == ({"c-north-whatsapp-coreapp": 1}, {"c-south-whatsapp-coreapp": 1})
    assert (north.running("log_level"), south.running("log_level")) == ({"warning"}, {"warning"})


def test_record_of_another_client_is_neither_taken_over_nor_lost(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    """As after a number has moved: the Deployment is named for another inventory host than the one that owed."""
    release = new_release("c-moved", meta_single())
    assert run_role(ansible, [release], variables={**NEVER, "wa_settings_cluster": "former"}).rc == 0
    run = run_role(ansible, [release], variables={"wa_settings_cluster": "latter"})
    if run.rc == 0:
        assert release.running("log_level") == {"warning"}, run.output
    else:
        assert "former" in words(run)
        assert release.restarted() == {}


def test_unfinished_roll_out_does_not_count(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("c-unfinished", meta(2, 1, readiness=True), wa_settings_health_timeout=5)
    release.hosting.passes_probes = False
    first = run_role(ansible, [release])
    assert first.rc != 0
    assert "c-unfinished/coreapp" in words(first), first.output
    begun = release.restarted()

    second = run_role(ansible, [release])
    assert second.rc != 0, second.output
    assert "c-unfinished/coreapp" in words(second)
    assert release.restarted() == begun

    release.hosting.passes_probes = True
    third = run_role(ansible, [release])
    assert third.rc == 0, third.output
    assert release.running("log_level") == {"warning"}
    assert not summary(third, release)["pending"]


@pytest.mark.thorough
def test_roll_out_by_hand_that_is_not_finished_does_not_count(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("c-byhand", meta(2, 1, readiness=True), wa_settings_health_timeout=5)
    assert run_role(ansible, [release], variables=NEVER).rc == 0
    release.hosting.passes_probes = False
    release.begin_restart("coreapp")
    _started(release)
    run = run_role(ansible, [release])
    assert run.rc != 0, run.output
    release.hosting.passes_probes = True
    last = run_role(ansible, [release])
    assert last.rc == 0, last.output
    assert release.running("log_level") == {"warning"}


@pytest.mark.thorough
def test_undo_does_not_bring_back_what_was_pending(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("c-undo", meta_single())
    assert run_role(ansible, [release], variables=NEVER).rc == 0
    # The controller copies the annotations of a Deployment to its current ReplicaSet.
    time.sleep(2)
    made = run_role(ansible, [release])
    assert made.rc == 0, made.output
    release.undo("coreapp")
    release.wait()
    release.forget()
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert untouched(release)
    assert run.stats()[release.name]["changed"] == 0


@pytest.mark.thorough
def test_undo_keeps_what_is_pending(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("c-undo-early", meta_single())
    release.restart("coreapp")
    release.forget()
    assert run_role(ansible, [release], variables=NEVER).rc == 0
    # Annotations of the former revision replace those of now, but its pods are new.
    release.undo("coreapp")
    release.wait()
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert release.running("log_level") == {"warning"}


# d. Ends at once where nothing more can come, says why, and asks for no more rights than the role's page says.


def test_roll_out_that_failed_is_not_waited_for(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("d-deadline", meta_single(deadline=2), wa_settings_health_timeout=300)
    release.hosting.starts = False
    begun = time.monotonic()
    run = run_role(ansible, [release])
    assert run.rc != 0
    assert time.monotonic() - begun < 150
    assert "ProgressDeadlineExceeded" in words(run)
    assert "ImagePullBackOff" in words(run)
    assert "d-deadline/coreapp" in words(run)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown", "did not answer, or did not accept the credentials"),
        ("forbidden", "is forbidden"),
        ("nowhere", "did not answer"),
    ],
)
def test_error_of_the_api_is_told_and_nothing_hidden_goes_before_it(
    ansible: AnsibleCommands, new_release: NewRelease, name: str, said: str
) -> None:
    release = new_release(f"d-{name}", meta_single())
    token = {"unknown": "nobody", "forbidden": release.cluster.operator}.get(name)
    environment = {"K8S_AUTH_HOST": "https://127.0.0.1:1"} if name == "nowhere" else {}
    run = run_role(ansible, [release], token=token, environment=environment)
    assert run.rc != 0
    assert said in words(run), run.output
    assert "censored" not in run.output
    assert untouched(release)


def test_rights_of_the_roles_page_are_enough(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("d-rights", meta_single())
    release.grant(RIGHTS)
    for arguments in (("--check", "--diff"), ()):
        assert release.restarted() == {}
        run = run_role(ansible, [release], *arguments, token=release.cluster.operator)
        assert run.rc == 0, run.output
        assert "d-rights" in words(run)
    assert release.restarted() == {"coreapp": 1}


@pytest.mark.thorough
def test_names_with_their_namespace_need_no_rights_elsewhere(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("d-full", meta_single(), wa_settings_restart_containers=["d-full/coreapp"])
    release.grant(RIGHTS)
    run = run_role(ansible, [release], token=release.cluster.operator, namespace=None)
    assert run.rc == 0, run.output
    assert release.restarted() == {"coreapp": 1}


def test_without_a_namespace_the_missing_right_is_named(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("d-anywhere", meta_single())
    release.grant(RIGHTS)
    run = run_role(ansible, [release], token=release.cluster.operator, namespace=None)
    assert run.rc != 0
    assert "deployments" in words(run)
    assert "at the cluster scope" in words(run)
    assert "censored" not in run.output
    assert untouched(release)


# 14. Coreapps and masters are told apart by evidence.


@pytest.mark.thorough
def test_masters_without_a_coreapp_are_refused(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("masters-only", meta(0, 2))
    run = run_role(ansible, [release])
    assert run.rc != 0, run.output
    assert untouched(release)


@pytest.mark.thorough
def test_name_that_begins_like_a_masters_makes_no_master(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    unset, zero = helm("mastercard"), helm("mastercard0")
    container = zero.objects[-1]["spec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "WA_MASTER_NODE", "value": "0"})
    releases = [new_release("mastercard", unset), new_release("mastercard0", zero)]
    run = run_role(ansible, releases)
    assert run.rc == 0, run.output
    for release in releases:
        assert release.restarted() == {f"{release.name}-whatsapp-coreapp": 1}
        assert release.running("log_level") == {"warning"}


# Never two down by us, and started is not healthy: a cluster of several Deployments.


def cluster_of_two(new_release: NewRelease, name: str, **extra: Any) -> Release:
    """One cluster, its two Coreapps in a Deployment each."""
    options: dict[str, Any] = {"clustered": True, "readiness": True}
    first, *others = [helm(f"{name}-{number}", **options) for number in (1, 2, 3)]
    for each in others:
        for deployment in [one for one in each.objects if one["kind"] == "Deployment"]:
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            host = next(variable for variable in container["env"] if variable["name"] == "WA_DB_HOSTNAME")
            host["value"] = first.database
            if each is others[-1]:
                # Settings of a cluster go through a master.
                container["env"].append({"name": "WA_MASTER_NODE", "value": "1"})
    names = [f"{name}-{number}-whatsapp-coreapp" for number in (1, 2)]
    return new_release(name, together(first, *others), wa_settings_restart_containers=names, **extra)


@pytest.mark.thorough
def test_deployments_of_a_cluster_go_one_after_the_other(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = cluster_of_two(new_release, "pair")
    run = run_role(ansible, [release])
    assert run.rc == 0, run.output
    assert release.restarted() == {"pair-1-whatsapp-coreapp": 1, "pair-2-whatsapp-coreapp": 1}
    assert _most_down(release) == 1


@pytest.mark.thorough
def test_deployment_that_does_not_come_back_keeps_the_next_from_going(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = cluster_of_two(new_release, "halted", wa_settings_health_timeout=5)
    release.hosting.passes_probes = False
    for _attempt in range(3):
        run = run_role(ansible, [release])
        assert run.rc != 0, run.output
        assert len(release.restarted()) == 1, run.output
    release.hosting.passes_probes = True
    last = run_role(ansible, [release], variables={"wa_settings_health_timeout": 60})
    assert last.rc == 0, last.output
    assert release.running("log_level") == {"warning"}
    assert set(release.restarted().values()) == {1}


@pytest.mark.thorough
def test_pod_that_crash_loops_is_not_taken_for_healthy(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("looping", meta_single(), wa_settings_health_timeout=10)
    release.client.control.switch(gone_nodes="disconnected", connect_seconds=3.0)
    release.hosting.crash_seconds = 0.5
    run = run_role(ansible, [release])
    assert run.rc != 0, run.output
    assert "looping/coreapp" in words(run)
    assert "CrashLoopBackOff" in words(run)


@pytest.mark.thorough
def test_two_runs_at_once_take_turns(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = cluster_of_two(new_release, "twice")
    release.hosting.stop_seconds = 2
    runs: list[CommandRun] = []

    def go(number: int, values: dict[str, Any]) -> None:
        commands = AnsibleCommands(ansible.place / str(number))
        runs.append(run_role(commands, [release], values=values))

    wishes: list[dict[str, Any]] = [VALUES, {"webhooks": {"max_concurrent_requests": 12}}]
    threads = [threading.Thread(target=go, args=each) for each in enumerate(wishes)]
    for thread in threads:
        thread.start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    assert [run.rc for run in runs] == [0, 0], "\n".join(run.output for run in runs)
    assert _most_down(release) == 1
    assert release.running("log_level") == {"warning"}
    assert release.running("webhooks.max_concurrent_requests") == {12}


def _most_down(release: Release) -> int:
    """The most nodes that were between their stop and being up again at one time, since the log was cleared."""
    down, most = 0, 0
    for event in release.client.control.node_events():
        down += {"stop": 1, "start": -1}.get(event["event"], 0)
        most = max(most, down)
    return most
