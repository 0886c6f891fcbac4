# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.kubernetes import (
    Kubernetes,
    as_nodes,
    choose,
    kind_of,
    reason_of,
    selects,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    COREAPP,
    MASTER,
    Node,
    Record,
    Whose,
    demand,
    render,
)

PATTERN = r"whatsapp\.biz/coreapp"
CLIENT = "https://wa1.example.com:9090"
Object = dict[str, Any]


def deployment(name: str = "coreapp", namespace: str = "wa", **facts: Any) -> Object:
    container = {
        "image": facts.get("image", "docker.whatsapp.biz/coreapp:v2.57.2"),
        "env": [{"name": key, "value": value} for key, value in facts.get("env", {}).items()],
    }
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": facts.get("labels", {})},
        "spec": {
            "replicas": facts.get("replicas", 1),
            "strategy": {"type": facts.get("strategy", "Recreate")},
            "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [container]}},
        },
    }


def pod(uid: str, of: str = "coreapp", **facts: Any) -> Object:
    condition = {"type": "Ready", "status": "True" if facts.get("ready", True) else "False"}
    status = {"phase": facts.get("phase", "Running"), "podIP": "10.0.0.1", "conditions": [condition]}
    if "waiting" in facts:
        status["containerStatuses"] = [{"state": {"waiting": {"reason": facts["waiting"]}}}]
    metadata = {"name": f"{of}-{uid}", "namespace": "wa", "uid": uid, "labels": {"app": of}}
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if facts.get("going") else {}
    return {"metadata": {**metadata, **going}, "spec": {}, "status": status}


class Api:
    """ConfigMaps with versions, as the modules of kubernetes.core show them. before: called ahead of each call."""

    is_here = False

    def __init__(self) -> None:
        self.maps: dict[str, Object] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda _call: None
        self._version = 0

    def run(self, command: str) -> str:
        raise AssertionError(command)

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        call = name.rpartition(".")[2] if arguments.get("state") != "absent" else "delete"
        self.before(call)
        self.calls.append(call)
        if call == "k8s_info":
            return {"resources": list(self.maps.values()), "api_found": True}
        if call == "delete":
            version = arguments["delete_options"]["preconditions"]["resourceVersion"]
            return self._checked(arguments["name"], version) or (self.maps.pop(arguments["name"], None) and {}) or {}
        definition = arguments["definition"]
        given = dict(definition["metadata"])
        version = given.pop("resourceVersion", None)
        found = self.maps.get(given["name"])
        if found is None and version is not None:
            return {"failed": True, "msg": "resourceVersion should not be set on objects to be created"}
        refused = self._checked(given["name"], version)
        if refused:
            return refused
        data = definition.get("data", found["data"] if found else {})
        if found is None or data != found["data"]:
            self._version += 1
            found = {"metadata": {**given, "resourceVersion": str(self._version)}, "data": data}
        self.maps[given["name"]] = found
        return {"changed": True, "result": found}

    def _checked(self, name: str, version: str | None) -> dict[str, Any]:
        found = self.maps.get(name)
        if version is None or found is None or found["metadata"]["resourceVersion"] == version:
            return {}
        return {"failed": True, "msg": "Conflict: the object has been modified"}


def store(api: Api, cluster: str = "c") -> Any:
    containers = ("wa/coreapp",)
    member = Member("h", True, "kubernetes", containers, PATTERN, (), "/state")
    return Kubernetes.store(api, member, cluster, Whose(CLIENT, cluster, "h", lambda _host: False))


def test_a_record_is_made_changed_and_taken_away() -> None:
    api = Api()
    own = store(api)
    assert own.read().text is None
    assert own.swap(None, "one").text == "one"
    assert own.swap("one", "two").text == "two"
    assert store(api).read().text == "two"
    assert own.swap("two", None).text is None
    assert api.maps == {}


def test_what_was_seen_is_not_read_again() -> None:
    api = Api()
    own = store(api)
    own.read()
    api.calls.clear()
    own.swap(None, "one")
    own.swap("one", "two")
    own.swap("two", None)
    assert api.calls == ["k8s", "k8s", "k8s", "delete"]


@pytest.mark.parametrize("there", [None, "before"])
@pytest.mark.parametrize("new", ["mine", None])
@pytest.mark.parametrize("theirs", ["theirs", None])
@pytest.mark.parametrize("turn", range(4))
def test_of_two_writers_one_has_its_way(there: str | None, new: str | None, theirs: str | None, turn: int) -> None:
    """Whenever the other one comes in between, nothing of its is overwritten, and what is said to be there is there."""
    api = Api()
    mine, other = store(api), store(api)
    mine.swap(None, there)
    assert other.read().text == there
    count = 0

    def come_between(_call: str) -> None:
        nonlocal count
        count += 1
        if count == turn + 1:
            api.before = lambda _call: None
            other.swap(there, theirs)

    api.before = come_between
    answer = mine.swap(there, new)
    api.before = lambda _call: None
    first = theirs if count > turn and theirs != there else new
    assert (answer.text, store(api).read().text) == (first, first)


def test_records_of_the_client_under_other_names_are_found() -> None:
    api = Api()
    pending = demand(Record("former", "h", client=CLIENT), [Node("pod")], settings=(), recorded="", connected_before=1)
    stranger = replace(pending, cluster="stranger", client="https://elsewhere")
    store(api, "stranger").swap(None, render(stranger))
    assert store(api).read().misnamed == ""
    store(api, "former").swap(None, render(pending))
    assert "made when its wa_settings_cluster was former" in store(api).read().misnamed


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (deployment(env={"WA_MASTER_NODE": "1"}), MASTER),
        (deployment("masterapp", env={"WA_MASTER_NODE": "0"}), COREAPP),
        (deployment("masterapp"), MASTER),
        (deployment("x-master"), MASTER),
        (deployment("mastercard-coreapp"), COREAPP),
        (deployment(labels={"type": "masterapp"}), MASTER),
        (deployment("job", env={"WA_DB_UPGRADE": "1"}), "upgrade"),
    ],
)
def test_what_a_deployment_runs(one: Object, kind: str) -> None:
    assert kind_of(one) == kind


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((), ["wa/coreapp", "wa/renamed"]),
        (("renamed",), ["wa/renamed"]),
        (("wa/coreapp", "type=coreapp"), ["wa/coreapp", "wa/renamed"]),
        (("web", "coreapp"), ["wa/coreapp", "wa/web"]),
    ],
)
def test_which_deployments_are_the_clients(names: tuple[str, ...], chosen: list[str]) -> None:
    found = [
        deployment("web", image="docker.whatsapp.biz/web:v2.57.2"),
        deployment("renamed", image="registry.example/core:1", labels={"type": "coreapp"}),
        deployment(),
        deployment("upgrade", env={"WA_DB_UPGRADE": "1"}),
    ]
    taken = choose(found, names, PATTERN)
    assert [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in taken] == chosen


@pytest.mark.parametrize(
    ("found", "names", "said"),
    [
        ([deployment(), deployment(namespace="other")], (), "more than one namespace"),
        ([deployment("a-coreapp"), deployment("b-coreapp")], (), "wa_settings_restart_containers"),
        ([deployment()], ("nobody",), "no such Deployment: nobody"),
    ],
)
def test_what_is_not_certain_is_refused(found: list[Object], names: tuple[str, ...], said: str) -> None:
    with pytest.raises(Problem, match=said):
        choose(found, names, PATTERN)


def test_named_deployments_may_belong_to_whom_they_like() -> None:
    assert len(choose([deployment("a-coreapp"), deployment("b-coreapp")], ("a-coreapp", "b-coreapp"), PATTERN)) == 2


def test_pods_as_nodes() -> None:
    pods = [pod("1"), pod("2", going=True), pod("3", of="other"), pod("4", phase="Failed"), pod("5", ready=False)]
    nodes = as_nodes([deployment()], pods)
    assert [(node.id, node.running, node.steady) for node in nodes] == [
        ("1", True, True),
        ("4", False, True),
        ("5", True, False),
    ]
    assert nodes[0].name == "wa/coreapp/coreapp-1"
    assert nodes[0].hostname == "coreapp-1 10.0.0.1"


def test_a_deployment_without_pods_is_a_node_that_is_down_and_one_scaled_to_zero_is_none() -> None:
    (node,) = as_nodes([deployment(), deployment("zero", replicas=0)], [])
    assert (node.name, node.running) == ("wa/coreapp", False)


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ImagePullBackOff"])
def test_a_pod_that_waits_for_its_next_start_is_not_steady(reason: str) -> None:
    (node,) = as_nodes([deployment()], [pod("1", waiting=reason)])
    assert not node.steady


@pytest.mark.parametrize(("strategy", "alone"), [("Recreate", False), ("RollingUpdate", True)])
def test_only_recreate_keeps_a_second_coreapp_from_starting(strategy: str, alone: bool) -> None:
    (node,) = as_nodes([deployment(strategy=strategy)], [pod("1")])
    assert ("Recreate" in node.alone) is alone


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ({"key": "app", "operator": "In", "values": ["a"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["a"]}, True),
    ],
)
def test_selectors(expression: Object, found: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"app": "a"}) is found
    assert not selects({"matchLabels": {"app": "b"}, "matchExpressions": [expression]}, {"app": "a"})


def test_the_reason_of_a_failure_is_without_its_traceback() -> None:
    traceback = 'Traceback:\n  File "x", line 1\nurllib3.exceptions.MaxRetryError: refused\n'
    assert reason_of({"module_stderr": traceback}) == "urllib3.exceptions.MaxRetryError: refused"
    assert reason_of({"msg": "pods is forbidden"}) == "pods is forbidden"
    assert reason_of({}) == "no answer"


class Cluster:
    """Deployments and pods, and what becomes of the pods after a restart: what is seen at each look, one by one."""

    is_here = False

    def __init__(self, found: list[Object], pods: list[list[Object]]) -> None:
        self.found, self.pods = found, pods
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def run(self, command: str) -> str:
        raise AssertionError(command)

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        if name == "kubernetes.core.k8s":
            self.calls.append((str(arguments["state"]), dict(arguments)))
            return {"changed": True}
        if arguments["kind"] == "Deployment":
            return {"resources": self.found}
        return {"resources": self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]}


def member(*names: str) -> Member:
    return Member("h", True, "kubernetes", names or ("wa/coreapp",), PATTERN, (), "", {"kubeconfig": "/etc/kube"})


def restart(cluster: Cluster, patience: float = 60) -> None:
    (node,) = Kubernetes.look(cluster, member())
    Kubernetes.restart(cluster, member(), node, 10, patience)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [0.0]
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return waited


def test_a_rollout_is_over_when_the_new_pod_is_ready_and_the_old_one_gone(pauses: list[float]) -> None:
    old, starting, new = pod("1"), pod("2", ready=False), pod("2")
    cluster = Cluster([deployment()], [[old], [old], [old, new], [starting], [new]])
    restart(cluster)
    ((state, arguments),) = cluster.calls
    assert (state, arguments["name"], arguments["namespace"]) == ("patched", "coreapp", "wa")
    assert arguments["kubeconfig"] == "/etc/kube"
    annotations = arguments["definition"]["spec"]["template"]["metadata"]["annotations"]
    assert list(annotations) == ["kubectl.kubernetes.io/restartedAt"]
    assert len(pauses) == 4


def test_of_several_pods_one_is_taken_away(pauses: list[float]) -> None:
    first, second, new = pod("1"), pod("2"), pod("3")
    cluster = Cluster([deployment(replicas=2)], [[first, second], [first, second], [second, new]])
    node = next(node for node in Kubernetes.look(cluster, member()) if node.id == "1")
    Kubernetes.restart(cluster, member(), node, 10, 60)
    ((state, arguments),) = cluster.calls
    assert (state, arguments["kind"], arguments["name"]) == ("absent", "Pod", "coreapp-1")
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("successor", "status", "said"),
    [
        (pod("2", ready=False, waiting="ImagePullBackOff"), {}, "coreapp-2: ImagePullBackOff; 0 of 1 pods are ready"),
        (pod("2", going=True), {}, "0 of 1 pods are ready"),
        (
            pod("2", ready=False),
            {"conditions": [{"reason": "ProgressDeadlineExceeded", "message": "timed out"}]},
            "ProgressDeadlineExceeded: timed out; 0 of 1 pods are ready",
        ),
    ],
)
def test_a_rollout_that_fails_says_why(pauses: list[float], successor: Object, status: Object, said: str) -> None:
    cluster = Cluster([{**deployment(), "status": status}], [[pod("1")], [successor]])
    with pytest.raises(Problem, match=said):
        restart(cluster, patience=60)
    assert sum(pauses) == (6 if status else 60), "a Deployment that gave up is not waited for"


def test_the_end_of_the_time_is_not_exceeded(pauses: list[float]) -> None:
    cluster = Cluster([deployment()], [[pod("1")], [pod("2", ready=False)]])
    with pytest.raises(Problem, match="0 of 1 pods are ready"):
        restart(cluster, patience=4)
    assert sum(pauses) == 4


def test_a_deployment_that_is_gone_or_paused(pauses: list[float]) -> None:
    cluster = Cluster([deployment()], [[pod("1")]])
    (node,) = Kubernetes.look(cluster, member())
    cluster.found = []
    with pytest.raises(Problem, match="Deployment wa/coreapp is gone"):
        Kubernetes.restart(cluster, replace(member(), containers=()), node, 10, 60)
    paused = deployment()
    paused["spec"]["paused"] = True
    with pytest.raises(Problem, match="Deployment wa/coreapp is paused"):
        Kubernetes.look(Cluster([paused], [[]]), member())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"failed": True, "msg": "no such kubeconfig"}, "kubernetes: no such kubeconfig"),
        ({"api_found": False, "resources": []}, "kubernetes: the API server did not answer, or did not accept"),
        ({"api_found": False, "msg": "forbidden"}, "kubernetes: forbidden"),
    ],
)
def test_an_api_server_that_does_not_answer(answer: Object, said: str) -> None:
    class Silent(Cluster):
        def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
            return answer

    with pytest.raises(Problem, match=said):
        Kubernetes.look(Silent([], [[]]), member())


def test_deployments_of_all_namespaces_where_none_is_named() -> None:
    asked: list[Any] = []

    class Asked(Cluster):
        def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
            asked.append(arguments.get("namespace"))
            return {"resources": []}

    for names in (("app=coreapp",), ("two/coreapp", "one/coreapp")):
        with pytest.raises(Problem, match="no such Deployment"):
            Kubernetes.deployments(Asked([], [[]]), member(*names))
    assert asked == [None, "one", "two"]
