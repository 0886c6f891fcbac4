# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of `make test`: what each checks, and with which environment."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

from browser import BROWSER_VARIABLE, ensure_browser
from control_plane import ASSETS_VARIABLE, ensure_control_plane
from docs_site import build_site
from engine import Engine, EngineMissing, engine_required, ensure_engine
from images import ensure_images
from locations import CACHE, COLLECTION_PATH, COLLECTIONS, EMULATOR, ROOT
from progress import SetupFailed
from pythons import find_python
from runner import THOROUGH, Session, Step, StepFailed, StepSkipped
from trees import collection_files, copy_collection
from venvs import BENCH, CORES, DOCS, LINT, OTHER_CLIENTS, Environment

PYTEST = ("-m", "pytest", "-ra", "--strict-markers", "--durations=15")
SANITY_CORES = ("core-2.16", "core-newest")
PROTOCOL = "tests/unit/plugins/plugin_utils/test_protocol_exploration.py"
MODULES = "tests/integration/modules"
ROLE_COURSE = "tests/integration/role/test_role_converges.py"
PROMISES = "tests/integration/promises"
DRIFT = "tests/integration/drift"
EXPORT = "tests/integration/export"
AWX = ROOT / "tests" / "awx"
AWX_JOBS = "tests/integration/awx/test_awx_jobs.py"
KUBERNETES = "tests/integration/kubernetes"
# In an environment of their own, with what drives a browser.
BROWSER_TESTS = "tests/integration/browser"
# The newest release runs everything. The oldest runs what depends on the release: the execution path, the role's
# course, how it reads variables, how many tasks it takes, and what AWX shows of it. Those between them run a few of
# each; with 2.19 came another way of templating.
PEOPLE_SEE = f"{PROMISES}/test_what_people_see.py"
EXECUTION_PATH = f"{MODULES}/test_execution_path.py"
VARIABLES = f"{PROMISES}/test_variables.py"
SMOKE = (
    f"{ROLE_COURSE}::test_single_client_converges_with_one_restart[controller]",
    f"{ROLE_COURSE}::test_cluster_is_written_once_and_restarts_everywhere[host]",
    f"{ROLE_COURSE}::test_check_mode_predicts_and_touches_nothing[host]",
    f"{PEOPLE_SEE}::test_converged_client_is_one_task",
    f"{PEOPLE_SEE}::test_converged_cluster_is_one_task_for_each_host_and_one_request",
    f"{PEOPLE_SEE}::test_one_change_with_one_restart_is_a_short_story",
    f"{AWX_JOBS}::test_check_and_run_with_answers",
)
INTEGRATION_TESTS = {
    "core-2.16": (
        *(EXECUTION_PATH, f"{MODULES}/test_task_keywords.py", ROLE_COURSE, PEOPLE_SEE, VARIABLES, AWX_JOBS),
        *(f"{PROMISES}/test_{name}.py" for name in ("clients_on_one_host", "over_ssh")),
        f"{DRIFT}/test_drift.py::test_mixed_fleet_is_told_in_every_form",
        f"{DRIFT}/test_drift.py::test_target_and_limit_choose_the_clients",
        f"{EXPORT}/test_export.py::test_mixed_fleet_goes_there_and_back[in-process]",
    ),
    "core-2.17": SMOKE,
    "core-2.18": SMOKE,
    "core-2.19": (*SMOKE, EXECUTION_PATH, VARIABLES),
    "core-2.20": SMOKE,
}
# What goes through whole playbooks of the collection.
PLAYBOOKS = tuple(f"tests/integration/{name}" for name in ("awx", "campaign", "drift", "export"))
# The step `build` runs them with what it has built.
DOCS_EXAMPLES = "tests/integration/docs"
# In steps of their own.
SEPARATE = (KUBERNETES, PROMISES, BROWSER_TESTS, DOCS_EXAMPLES, *PLAYBOOKS)
# ansible-test looks at what is shipped; ruff and mypy look at the rest as well.
CHECKED_FOLDERS = ("meta", "plugins", "roles", "playbooks", "changelogs", "docs", "tests/sanity")
# The oldest Python of a managed host; what has to run there is compiled and imported with it.
OLDEST_PYTHON = "3.9"
# What the tarball may hold; all else of the repository is for those who develop it.
SHIPPED = {"meta", "plugins", "roles", "playbooks", "docs", "changelogs", "extensions", "tests"}
WHOLLY_SHIPPED = {"meta", "plugins", "roles", "playbooks"}
SHIPPED_FILES = {"FILES.json", "MANIFEST.json", "README.md", "CHANGELOG.md", "CHANGELOG.rst", "LICENSE"}


def all_steps(pytest_arguments: tuple[str, ...] = ()) -> list[Step]:
    """Return every step, in the order of the summary; `pytest_arguments` go to each run of pytest."""
    cores = {environment.name: environment for environment in CORES}
    units = {
        name: Step(f"unit-{name}", "unit", functools.partial(_unit, core, pytest_arguments))
        for name, core in cores.items()
    }
    integrations = {
        name: Step(f"integration-{name}", "integration", functools.partial(_integration, core, pytest_arguments))
        for name, core in cores.items()
    }
    newest = CORES[-1].name
    # What takes seconds first, then what takes longest, so that both ends of the work are reached at the same time.
    return [
        Step("ruff", "lint", _ruff),
        Step("mypy", "lint", _mypy),
        Step("yamllint", "lint", _yamllint),
        Step("changelog", "lint", _changelog),
        Step("reuse", "lint", _reuse),
        Step("spelling", "lint", _spelling),
        Step("ansible-lint", "lint", _ansible_lint),
        Step("ansible-doc", "lint", _ansible_doc),
        Step("containers", "containers", functools.partial(_containers, pytest_arguments), claims="engine"),
        Step("promises", "integration", functools.partial(_promises, pytest_arguments)),
        integrations.pop(newest),
        Step("playbooks", "integration", functools.partial(_playbooks, pytest_arguments)),
        Step("kubernetes", "integration", functools.partial(_kubernetes, pytest_arguments)),
        units.pop(newest),
        Step("build", "build", _build),
        *integrations.values(),
        *units.values(),
        *(Step(f"sanity-{name}", "sanity", functools.partial(_sanity, cores[name])) for name in SANITY_CORES),
        Step("bench-quick", "smoke", _bench_quick),
        Step("browser", "integration", functools.partial(_browser, pytest_arguments)),
        Step("molecule", "molecule", _molecule),
        Step("molecule-containers", "molecule", _molecule_containers, claims="engine"),
        Step("bench-containers", "containers", _bench_containers, claims="engine"),
        Step(f"sanity-python-{OLDEST_PYTHON}", "sanity", _sanity_oldest_python),
        Step("demo", "smoke", _demo),
    ]


def environments_of(step: Step) -> tuple[Environment, ...]:
    """Return the environments that a step uses."""
    named = tuple(environment for environment in CORES if step.name.endswith(environment.name))
    if step.name == "build":
        return (LINT, CORES[-1])
    if step.name in (f"unit-{CORES[-1].name}", "containers"):
        return (CORES[-1], OTHER_CLIENTS)
    if step.name in ("promises", "playbooks", "kubernetes", "demo", f"sanity-python-{OLDEST_PYTHON}"):
        return (CORES[-1],)
    if step.name.startswith("bench-"):
        return (BENCH,)
    if step.name == "browser":
        return (DOCS,)
    return named or (LINT,)


def needs_engine(step: Step) -> bool:
    """Return whether a step starts containers."""
    return step.name.endswith("containers")


def _ready(environment: Environment) -> dict[str, str]:
    if not environment.python.exists():
        raise StepSkipped(f"no Python {' or '.join(environment.pythons)} on this machine")
    return environment.variables()


def _other_clients() -> dict[str, str]:
    """Tell the tests where WADebug and wabclient are."""
    _ready(OTHER_CLIENTS)
    return {"WABIZ_OTHER_CLIENTS": str(OTHER_CLIENTS.python)}


@functools.cache
def engine_or_fault() -> Engine | Exception:
    """Return the engine with all images built, or why there is none; found out once."""
    try:
        engine = ensure_engine()
        ensure_images(engine)
    except (EngineMissing, SetupFailed) as fault:
        return fault
    return engine


def _ready_engine() -> dict[str, str]:
    found = engine_or_fault()
    if isinstance(found, Engine):
        return found.variables()
    raise _without("container engine", found)


def _without(what: str, fault: Exception) -> Exception:
    """What a step ends with that cannot have what it needs."""
    if isinstance(fault, EngineMissing) and not engine_required():
        return StepSkipped(f"no {what}: {fault}")
    return StepFailed(str(fault))


def _ruff(session: Session) -> None:
    env = _ready(LINT)
    session.run(["ruff", "check", "."], env=env)
    session.run(["ruff", "format", "--check", "."], env=env)


def _mypy(session: Session) -> None:
    env = _ready(LINT)
    name = ".".join(COLLECTION_PATH.parts) + ".plugins"
    session.run(["mypy", "-p", name], env=env | {"MYPYPATH": str(COLLECTIONS)})
    session.run(["mypy", "-p", "wabiz_emulator"], env=env | {"MYPYPATH": str(ROOT / "tests" / "emulator")})
    setup = ROOT / "tests" / "setup"
    session.run(["mypy", *sorted(setup.glob("*.py"))], env=env | {"MYPYPATH": str(setup)})
    integration = ROOT / "tests" / "integration"
    folders = ("awx", "browser", "campaign", "drift", "export", "modules", "promises", "role")
    tests = [test for folder in folders for test in sorted((integration / folder).glob("*.py"))]
    paths = [integration, EMULATOR, AWX, ROOT / "tests" / "bench", COLLECTIONS]
    types_of_tests = env | {"MYPYPATH": os.pathsep.join(map(str, paths))}
    session.run(["mypy", integration / "conftest.py", *tests], env=types_of_tests)
    session.run(["mypy", "-p", "support"], env=types_of_tests)
    objects = [*sorted(AWX.glob("*.py")), *sorted((ROOT / "tests" / "unit" / "awx").glob("*.py"))]
    session.run(["mypy", *objects], env=types_of_tests)
    for name in ("bench", "demo"):
        place = ROOT / "tests" / name
        session.run(["mypy", *sorted(place.glob("*.py"))], env=env | {"MYPYPATH": f"{place}:{EMULATOR}"})


def _yamllint(session: Session) -> None:
    session.run(["yamllint", "--strict", "."], env=_ready(LINT))


def _changelog(session: Session) -> None:
    session.run(["antsibull-changelog", "lint"], env=_ready(LINT))


def _reuse(session: Session) -> None:
    """Each file tells its licence: by a header, or in REUSE.toml."""
    session.run(["reuse", "lint"], env=_ready(LINT))


def _spelling(session: Session) -> None:
    session.run(["codespell", "."], env=_ready(LINT))


def _ansible_lint(session: Session) -> None:
    env = _ready(LINT)
    copy = copy_collection(session.name)
    session.run(["ansible-lint", "--profile", "production", "--offline", "--strict"], env=env, cwd=copy)


def _ansible_doc(session: Session) -> None:
    env = _ready(LINT)
    modules = [path.stem for path in sorted((ROOT / "plugins" / "modules").glob("*.py")) if path.stem != "__init__"]
    roles = [path.parents[1].name for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))]
    if not modules:
        raise StepFailed("no module found")
    prefix = ".".join(COLLECTION_PATH.parts[1:])
    session.run(["ansible-doc", *(f"{prefix}.{name}" for name in modules)], env=env)
    if roles:
        session.run(["ansible-doc", "--type", "role", *(f"{prefix}.{name}" for name in roles)], env=env)
    lines = session.log.read_text().splitlines()
    # ansible-core warns of a collection of its own.
    broken = [line for line in lines if re.match(r"\[(WARNING|ERROR)\]|ERROR!", line) and "_protomatter" not in line]
    if broken:
        raise StepFailed(broken[0])


def _build(session: Session) -> None:
    """Build the tarball, look into it, install it into an empty place, and use what was installed."""
    env = _ready(LINT)
    copy = copy_collection(session.name)
    place = copy.parents[2] / "artifact"
    session.run(["ansible-galaxy", "collection", "build", "--output-path", place, copy], env=env)
    (artifact,) = place.glob("*.tar.gz")
    _check_contents(artifact)
    installed = place / "installed"
    # Nothing but what was installed is to be found, and with --force nothing counts as installed already.
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(installed)}
    install = ["ansible-galaxy", "collection", "install", "--no-deps", "--offline", "--force"]
    session.run([*install, "--collections-path", installed, artifact], env=env | alone)
    for other in (COLLECTIONS / COLLECTION_PATH.parts[0]).iterdir():
        if other.name != COLLECTION_PATH.parts[1]:
            (installed / COLLECTION_PATH.parts[0] / other.name).symlink_to(other)
    _smoke(session, env | alone)
    _run_demo(session, alone)
    session.run([LINT.python, *PYTEST, DOCS_EXAMPLES], env=env | alone)
    _execution_environment(session, env, artifact, installed)
    session.run(["python", "-m", "galaxy_importer.main", artifact], env=env | _importer_settings(place), cwd=place)


def _check_contents(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    strange = sorted(name for name in names if name.split("/")[0] not in SHIPPED | SHIPPED_FILES)
    if strange:
        raise StepFailed(f"the tarball holds {', '.join(strange[:5])}; see build_ignore in galaxy.yml")
    # Without an action its module still runs, as a process of its own.
    missing = {str(path) for path in collection_files() if path.parts[0] in WHOLLY_SHIPPED} - set(names)
    if missing:
        raise StepFailed(f"the tarball lacks {', '.join(sorted(missing)[:5])}; see build_ignore in galaxy.yml")


def _smoke(session: Session, env: Mapping[str, str]) -> None:
    """Call each module of the installed collection without its required options: it must answer in one clear line."""
    for path in sorted((ROOT / "plugins" / "modules").glob("wa_*.py")):
        name = ".".join([*COLLECTION_PATH.parts[1:], path.stem])
        if session.attempt(["ansible", "localhost", "--module-name", name], env=env) == 0:
            raise StepFailed(f"{name} without options succeeded")
        answers = re.findall(r"^localhost \| FAILED! => (\{.*?^\})", session.log.read_text(), re.DOTALL | re.MULTILINE)
        if not answers or not json.loads(answers[-1]).get("msg") or "Traceback" in answers[-1]:
            raise StepFailed(f"{name} without options gave no clear message")


def _execution_environment(session: Session, env: Mapping[str, str], artifact: Path, installed: Path) -> None:
    """What ansible-builder makes of the collection: the packages that it needs, and what an image is built from."""
    session.run(["ansible-builder", "introspect", "--sanitize", installed], env=env)
    if "'requests>=2.25  # from collection wabiz.onprem'" not in session.log.read_text():
        raise StepFailed("ansible-builder does not learn from the collection that it needs requests")
    definition = artifact.parent / "execution-environment.yml"
    wanted = {
        "version": 3,
        "images": {"base_image": {"name": "localhost/base:1"}},
        "dependencies": {"galaxy": {"collections": [{"name": artifact.name, "type": "file"}]}},
        "additional_build_files": [{"src": artifact.name, "dest": "galaxy"}],
    }
    definition.write_text(json.dumps(wanted))
    create: list[str | Path] = [
        "ansible-builder",
        "create",
        "--file",
        definition,
        "--context",
        artifact.parent / "context",
    ]
    session.run(create, env=env, cwd=artifact.parent)


def _importer_settings(place: Path) -> dict[str, str]:
    settings = place / "galaxy-importer.cfg"
    settings.write_text(
        "[galaxy-importer]\n"
        "RUN_ANSIBLE_DOC = True\nRUN_ANSIBLE_LINT = True\nANSIBLE_LINT_SERIALIZE = False\n"
        "RUN_ANSIBLE_TEST = False\nRUN_FLAKE8 = False\nCHECK_REQUIRED_TAGS = True\nCHECK_CHANGELOG = True\n"
    )
    return {"GALAXY_IMPORTER_CONFIG": str(settings), "ANSIBLE_LINT_OFFLINE": "1"}


def _sanity(environment: Environment, session: Session) -> None:
    _ansible_test(session, _ready(environment), "--python", environment.python_version())


def _sanity_oldest_python(session: Session) -> None:
    python = find_python(OLDEST_PYTHON)
    if python is None:
        raise StepSkipped(f"no Python {OLDEST_PYTHON} on this machine")
    env = _ready(CORES[-1])
    path = f"{env['PATH']}{os.pathsep}{python.parent}"
    _ansible_test(session, env | {"PATH": path}, "--python", OLDEST_PYTHON, "--test", "compile", "--test", "import")


def _ansible_test(session: Session, env: Mapping[str, str], *arguments: str) -> None:
    copy = copy_collection(session.name)
    shipped = [f"{folder}/" for folder in CHECKED_FOLDERS if (copy / folder).is_dir()]
    command = ["ansible-test", "sanity", "--venv", "--color", "no", *arguments, *shipped]
    for _attempt in range(3):
        if session.attempt(command, env=env, cwd=copy) == 0:
            if "All targets skipped" in session.log.read_text():
                raise StepFailed("ansible-test found nothing to check")
            return
        wanted = re.search(r"manually downloaded and saved to: (\S+)", session.log.read_text())
        if wanted is None or Path(wanted[1]).exists():
            break
        _replace_pip_bootstrap(Path(wanted[1]))
    raise StepFailed("ansible-test sanity found faults")


def _replace_pip_bootstrap(path: Path) -> None:
    """Write what ansible-test could not download: a script that brings the pip version that it is called with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # ensurepip in this very process would switch off the configuration of pip for what follows.
    path.write_text(
        "import subprocess, sys\n"
        "subprocess.check_call([sys.executable, '-m', 'ensurepip'])\n"
        "packages = [word for word in sys.argv[1:] if word not in ('--no-setuptools', '--no-wheel')]\n"
        "sys.exit(subprocess.call([sys.executable, '-m', 'pip', 'install', *packages]))\n"
    )


def _unit(environment: Environment, arguments: tuple[str, ...], session: Session) -> None:
    env = _ready(environment)
    if environment == CORES[-1]:
        env |= _other_clients()
        tests: tuple[str, ...] = (f"--hypothesis-profile={'thorough' if THOROUGH else 'ci'}", "tests/unit")
    else:
        # The emulator, the protocol and the properties do not depend on ansible-core: of the last, a few cases.
        tests = ("--hypothesis-profile=few", f"--ignore={PROTOCOL}", "tests/unit/plugins")
    session.run([environment.python, *PYTEST, *tests, *arguments], env=env)


def _integration(environment: Environment, arguments: tuple[str, ...], session: Session) -> None:
    everything = ("tests/integration", *(f"--ignore={folder}" for folder in SEPARATE))
    tests = INTEGRATION_TESTS.get(environment.name, everything)
    if THOROUGH and tests is not everything:
        tests = (MODULES, PROMISES, DRIFT, EXPORT, ROLE_COURSE)
    _test(session, environment, _ready(environment), "not containers", *tests, *arguments)


def _test(session: Session, environment: Environment, env: Mapping[str, str], marks: str, *arguments: str) -> None:
    marks = marks if THOROUGH else f"{marks} and not thorough"
    session.run([environment.python, *PYTEST, "-m", marks, *arguments], env=env)


def _promises(arguments: tuple[str, ...], session: Session) -> None:
    """What is promised of the role, on the newest release; where an engine matters, the step `containers` has it."""
    _test(session, CORES[-1], _ready(CORES[-1]), "not containers", PROMISES, *arguments)


def _playbooks(arguments: tuple[str, ...], session: Session) -> None:
    _test(session, CORES[-1], _ready(CORES[-1]), "not containers", *PLAYBOOKS, *arguments)


def _kubernetes(arguments: tuple[str, ...], session: Session) -> None:
    env = _ready(CORES[-1])
    try:
        env[ASSETS_VARIABLE] = str(ensure_control_plane())
    except EngineMissing as fault:
        raise _without("Kubernetes", fault) from fault
    _test(session, CORES[-1], env, "not containers", KUBERNETES, *arguments)


def _browser(arguments: tuple[str, ...], session: Session) -> None:
    """The drift report and the documentation site as a person meets them."""
    env = _ready(DOCS)
    try:
        env["WABIZ_DOCS_SITE"] = str(build_site(DOCS))
        env[BROWSER_VARIABLE] = str(ensure_browser())
    except (EngineMissing, SetupFailed) as fault:
        raise _without("browser", fault) from fault
    session.run([DOCS.python, *PYTEST, BROWSER_TESTS, *arguments], env=env)


def _containers(arguments: tuple[str, ...], session: Session) -> None:
    env = _ready(CORES[-1]) | _ready_engine() | _other_clients()
    # In this order: deployments that several tests share stay up, and some promises are about a host without others.
    tests = (PROMISES, "tests/integration/containers")
    _test(session, CORES[-1], env, "containers", *tests, *arguments)


def _demo(session: Session) -> None:
    _run_demo(session, {})


def _run_demo(session: Session, variables: Mapping[str, str]) -> None:
    env = {**_ready(CORES[-1]), "PYTHONPATH": str(EMULATOR), **variables}
    session.run([CORES[-1].python, "tests/demo/demo.py"], env=env)


def _bench_quick(session: Session) -> str | None:
    """Keep the measurements alive: that they run and count the right requests, not what comes out of them."""
    env = _ready(BENCH) | {"PYTHONPATH": str(EMULATOR)}
    session.run([BENCH.python, "tests/bench/bench.py", "--quick"], env=env)
    lines = session.log.read_text().splitlines()
    return next((line for line in lines if line.startswith("nothing is measured over SSH")), None)


def _bench_containers(session: Session) -> None:
    env = _ready(BENCH) | _ready_engine() | {"PYTHONPATH": str(EMULATOR)}
    session.run([BENCH.python, "tests/bench/restart_overhead.py", "--rounds", "1"], env=env)


def _molecule(session: Session) -> None:
    _run_molecule(session, _ready(LINT), "local_processes")


def _molecule_containers(session: Session) -> None:
    _run_molecule(session, _ready(LINT) | _ready_engine(), "single_client_containers")


def _run_molecule(session: Session, env: Mapping[str, str], scenario: str) -> None:
    place = CACHE / "molecule" / scenario
    shutil.rmtree(place, ignore_errors=True)
    private = {"MOLECULE_EPHEMERAL_DIRECTORY": str(place), "ANSIBLE_FORCE_COLOR": "0"}
    session.run(["molecule", "test", "--scenario-name", scenario], env={**env, **private})
