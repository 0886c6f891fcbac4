# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# /// script
# dependencies = ["ansible-core>=2.17", "antsibull-nox>=1.0", "nox[uv]>=2025.5"]
# ///
"""Sessions of nox: `nox --list` shows them, `make` calls them. What they need is set up below .cache."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import antsibull_nox
import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests" / "setup"))

from common import (  # noqa: E402
    CACHE,
    COLLECTION_PATH,
    COLLECTIONS,
    EMULATOR,
    PIP,
    REQUIREMENTS,
    Missing,
    SetupFailed,
    can_install,
    install_packages,
)
from control_plane import ASSETS_VARIABLE, ensure_control_plane  # noqa: E402
from dependencies import collection_files, copy_collection, ensure_collections  # noqa: E402
from engine import BASE_IMAGE, ensure_engine, ensure_images, running_engine, stop_engine  # noqa: E402
from gates import run_gates  # noqa: E402

nox.needs_version = ">=2025.5"
nox.options.envdir = str(CACHE / "nox")
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["gates"]

# What takes too long for `make test` runs in `make thorough`.
THOROUGH = os.environ.get("WABIZ_THOROUGH") == "1"
GATE_TIMEOUT_SECONDS = 4 * 3600.0 if THOROUGH else 2700.0
# In CI a missing engine, browser or API server is a failure, not a reason to leave tests out.
REQUIRED = os.environ.get("WABIZ_REQUIRE_ENGINE") == "1"
LEAST_COVERED = 97  # percent of lines and branches


class Core(NamedTuple):
    """A tested release of ansible-core, and the versions of Python that may carry it, the preferred one first.

    `others`: packages in other releases than the newest.
    """

    name: str
    package: str
    pythons: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def is_possible(self) -> bool:
        return any(map(shutil.which, self.programs))

    @property
    def programs(self) -> list[str]:
        return [f"python{version}" for version in self.pythons]

    @property
    def python(self) -> str:
        """The first that this machine has; of a machine with none nox says so."""
        return next((name.removeprefix("python") for name in self.programs if shutil.which(name)), self.pythons[0])


CORES = (
    # With the lowest requests that is declared, and the urllib3 1.26 that belongs to it. It runs more than the others,
    # and the Python of a Debian is faster than one that was built from source.
    Core("core-2.16", "ansible-core~=2.16.0", ("3.11", "3.10", "3.12"), ("requests==2.25.*",)),
    Core("core-2.17", "ansible-core~=2.17.0", ("3.10", "3.11", "3.12")),
    # The last patch release in which a play that ends early costs tasks on every host.
    Core("core-2.18", "ansible-core==2.18.1", ("3.11", "3.12", "3.13")),
    Core("core-2.19", "ansible-core~=2.19.0", ("3.11", "3.12", "3.13")),
    Core("core-2.20", "ansible-core~=2.20.0", ("3.12", "3.13", "3.14")),
    Core("core-newest", "ansible-core>=2.21", ("3.13", "3.12", "3.14")),
)
# The oldest Python of a managed host; what has to run there is compiled and imported with it.
OLDEST_PYTHON = "3.9"


def clean_environment() -> None:
    """Nothing of the caller's Ansible reaches a test, and Pythons of pyenv are found as others are."""
    for name in list(os.environ):
        # Without bytecode files each of the thousands of commands would compile all of Ansible again.
        if name.startswith(("ANSIBLE_", "PYTEST_")) or name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
            del os.environ[name]
    os.environ |= {
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "PY_COLORS": "0",
    }
    # A shim of pyenv exists for each version that is installed, but runs only for those that are active.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    path = [folder for folder in os.get_exec_path() if Path(folder) != pyenv / "shims"]
    own = str(Path(sys.executable).parent)  # with ansible-galaxy, which antsibull-nox calls
    versions = map(str, sorted(pyenv.glob("versions/*/bin"), reverse=True))
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([own, *path, *versions]))


clean_environment()
# On a machine without a Python for the newest, the newest that is possible does its work.
MAIN = next((core for core in reversed(CORES) if core.is_possible), CORES[-1])
PYTHON_OF_TOOLS = next(
    (version for version in ("3.12", "3.13", "3.14", "3.11") if shutil.which(f"python{version}")), "3.12"
)

Session = nox.Session


def gate(
    name: str, *, python: str = PYTHON_OF_TOOLS, requires: tuple[str, ...] = ()
) -> Callable[..., Callable[..., None]]:
    """Make a session of a function that raises what a machine lacks."""

    def decorate(function: Callable[[Session], None]) -> Callable[[Session], None]:
        @functools.wraps(function)
        def run(session: Session) -> None:
            try:
                ensure_collections()
                function(session)
            except Missing as fault:
                (session.error if REQUIRED else session.skip)(str(fault))
            except SetupFailed as fault:
                session.error(str(fault))

        run.__doc__ = function.__doc__
        nox.session(name=name, python=python, requires=requires)(run)
        return run

    return decorate


def install(session: Session, *packages: str | Path, core: str = MAIN.package) -> None:
    """Install ansible-core, what the modules need, what all tests need, and more packages or requirement files."""
    needed = [ROOT / "meta" / "ee-requirements.txt", REQUIREMENTS / "tests.txt", EMULATOR / "requirements.txt"]
    for package in packages:
        if isinstance(package, Path):
            needed.append(package)
    files = [word for path in needed for word in ("-r", str(path))]
    session.install(core, *(package for package in packages if isinstance(package, str)), *files)


# --- lint ---

antsibull_nox.load_antsibull_nox_toml()


@gate("ruff")
def ruff(session: Session) -> None:
    """Code quality and form of all Python files"""
    session.install("ruff>=0.11")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@gate("format")
def format_code(session: Session) -> None:
    """Bring the Python files into their form"""
    session.install("ruff>=0.11")
    session.run("ruff", "check", "--fix", "--quiet", ".", success_codes=[0, 1])
    session.run("ruff", "format", ".")


@gate("mypy")
def mypy(session: Session) -> None:
    """Types of shipped code, of the emulator and of the tests, strictly"""
    install(session, "mypy>=1.15", "nox>=2025.5", "types-PyYAML", "types-requests")
    tests = ROOT / "tests"
    awx, bench, demo, integration, setup = (tests / name for name in ("awx", "bench", "demo", "integration", "setup"))
    folders = ("awx", "browser", "campaign", "drift", "execution_environment", "export", "modules", "promises", "role")
    of_tests = [integration, EMULATOR, awx, bench, COLLECTIONS]
    files = [
        integration / "conftest.py",
        *(test for name in folders for test in sorted((integration / name).glob("*.py"))),
    ]
    checks: list[list[Any]] = [
        [[COLLECTIONS], "-p", ".".join(COLLECTION_PATH.parts) + ".plugins"],
        [[EMULATOR], "-p", "wabiz_emulator"],
        [[setup], *sorted(setup.glob("*.py")), *sorted((tests / "mutants").glob("*.py")), ROOT / "noxfile.py"],
        [of_tests, *files],
        [of_tests, "-p", "support"],
        [of_tests, *sorted(awx.glob("*.py")), *sorted((tests / "unit" / "awx").glob("*.py"))],
        [[bench, EMULATOR], *sorted(bench.glob("*.py"))],
        [[demo, EMULATOR], *sorted(demo.glob("*.py"))],
    ]
    for paths, *arguments in checks:
        session.run("mypy", *map(str, arguments), env={"MYPYPATH": os.pathsep.join(map(str, paths))})


@gate("changelog")
def changelog(session: Session) -> None:
    """Valid changelog fragments"""
    # The second for those who make a release, with what this installs.
    session.install("antsibull-changelog>=0.30", "ansible-core")
    session.run("antsibull-changelog", "lint")


@gate("spelling")
def spelling(session: Session) -> None:
    """No common misspelling in any file"""
    session.install("codespell>=2.3")
    session.run("codespell", ".")


@gate("ansible-lint")
def ansible_lint(session: Session) -> None:
    """Ansible-lint's profile production, without a warning"""
    session.install("ansible-lint>=25.0")
    session.chdir(copy_collection("ansible-lint"))
    session.run("ansible-lint", "--profile", "production", "--offline", "--strict")


@gate("ansible-doc")
def ansible_doc(session: Session) -> None:
    """The documentation of modules and role shows, without a warning"""
    session.install("ansible-core")
    shown = []
    for arguments in (["--list"], ["--list", "--type", "role"]):
        shown.append(json.loads(str(session.run("ansible-doc", *arguments, "--json", "wabiz.onprem", silent=True))))
    for names, kind in zip(shown, ("module", "role"), strict=True):
        if not names:
            session.error(f"ansible-doc finds no {kind}")
        text = str(session.run("ansible-doc", "--type", kind, *names, silent=True))
        # ansible-core warns of a collection of its own.
        broken = [line for line in text.splitlines() if re.match(r"\[(WARNING|ERROR)\]|ERROR!", line)]
        if broken := [line for line in broken if "_protomatter" not in line]:
            session.error(broken[0])


# --- tests ---

PYTEST = ("-m", "pytest", "-ra", "--strict-markers", "--durations=15")
PROTOCOL = "tests/unit/plugins/plugin_utils/test_protocol_exploration.py"
MODULES = "tests/integration/modules"
ROLE_COURSE = "tests/integration/role/test_role_converges.py"
PROMISES = "tests/integration/promises"
DRIFT = "tests/integration/drift"
EXPORT = "tests/integration/export"
AWX_JOBS = "tests/integration/awx/test_awx_jobs.py"
KUBERNETES = "tests/integration/kubernetes"
# In an environment of their own, with what drives a browser.
BROWSER_TESTS = "tests/integration/browser"
EXECUTION_ENVIRONMENT = "tests/integration/execution_environment"
# The newest release runs everything. The oldest runs what depends on the release: the execution path, check mode and
# diff, the role's course, how it reads variables, how many tasks it takes, and what AWX shows of it. Those between them
# run a few of each; with 2.19 came another way of templating. `make thorough` runs all of these files on all releases.
PEOPLE_SEE = f"{PROMISES}/test_what_people_see.py"
EXECUTION_PATH = f"{MODULES}/test_execution_path.py"
VARIABLES = f"{PROMISES}/test_variables.py"
CLIENTS_ON_ONE_HOST = f"{PROMISES}/test_clients_on_one_host.py"
SMOKE = (
    f"{ROLE_COURSE}::test_single_client_converges_with_one_restart[controller]",
    f"{ROLE_COURSE}::test_cluster_is_written_once_and_restarts_everywhere[host]",
    f"{ROLE_COURSE}::test_check_mode_predicts_and_touches_nothing[host]",
    f"{AWX_JOBS}::test_check_and_run_with_answers",
)
# 2.18.1 takes other tasks than the releases around it.
TASKS = (
    f"{PEOPLE_SEE}::test_converged_client_is_one_task",
    f"{PEOPLE_SEE}::test_converged_cluster_is_one_task_for_each_host_and_one_request",
    f"{PEOPLE_SEE}::test_one_change_with_one_restart_is_a_short_story",
)
INTEGRATION_TESTS = {
    "core-2.16": (
        *(*SMOKE, *TASKS, EXECUTION_PATH, VARIABLES),
        f"{CLIENTS_ON_ONE_HOST}::test_each_client_is_written_and_restarted_once",
        f"{CLIENTS_ON_ONE_HOST}::test_skipped_use_of_the_role_touches_nothing_and_keeps_no_other_from_its_restart",
        f"{MODULES}/test_task_keywords.py::test_check_mode_and_diff_of_the_task",
        f"{MODULES}/test_task_keywords.py::test_adhoc",
        f"{ROLE_COURSE}::test_single_client_converges_with_one_restart",
        f"{ROLE_COURSE}::test_cluster_is_written_once_and_restarts_everywhere[apart]",
        f"{PROMISES}/test_over_ssh.py::test_role_does_its_work",
        f"{DRIFT}/test_drift.py::test_mixed_fleet_is_told_in_every_form",
        f"{DRIFT}/test_drift.py::test_target_and_limit_choose_the_clients",
        f"{EXPORT}/test_export.py::test_mixed_fleet_goes_there_and_back[in-process]",
    ),
    "core-2.17": SMOKE,
    "core-2.18": (*SMOKE, *TASKS),
    "core-2.19": (*SMOKE, *TASKS, EXECUTION_PATH, VARIABLES),
    "core-2.20": SMOKE,
}
# What goes through whole playbooks of the collection.
PLAYBOOKS = tuple(f"tests/integration/{name}" for name in ("awx", "campaign", "drift", "export"))
# The gate `build` runs them with what it has built.
DOCS_EXAMPLES = "tests/integration/docs"
# In gates of their own.
SEPARATE = (KUBERNETES, PROMISES, BROWSER_TESTS, DOCS_EXAMPLES, *PLAYBOOKS)
EVERYTHING_ELSE = ("tests/integration", *(f"--ignore={folder}" for folder in SEPARATE))


def pytest(session: Session, marks: str, *tests: str, env: dict[str, str] | None = None) -> None:
    """Run tests with these marks; without those that take long, unless everything is to run."""
    marks = marks if THOROUGH else f"{marks} and not thorough"
    session.run("python", *PYTEST, "-m", marks, *tests, *session.posargs, env=env or {})


def engine_variables() -> dict[str, str]:
    """Set up a container engine with all images, and return what tests have to know of it."""
    engine = ensure_engine()
    ensure_images(engine)
    return engine.variables()


# Clients of the API that others wrote: what they need must not end up beside the code under test.
OTHER_CLIENTS = {"WABIZ_OTHER_CLIENTS": str(CACHE / "nox" / "other-clients" / "bin" / "python")}


@nox.session(name="other-clients", python=PYTHON_OF_TOOLS)
def other_clients(session: Session) -> None:
    """Install WADebug and wabclient, for tests that run them"""
    session.install("-r", str(REQUIREMENTS / "other-clients.txt"))


WITHOUT_ANSIBLE = (
    *("backends", "catalogue", "client", "collection", "drift", "export", "lease", "media", "plan", "protocol"),
    *("providers", "record", "run", "secrets", "steps", "store", "work", "write"),
)


def unit(core: Core, session: Session) -> None:
    install(session, *core.others, core=core.package)
    if core is MAIN:
        everything = (f"--hypothesis-profile={'thorough' if THOROUGH else 'ci'}", "tests/unit")
        session.run("python", *PYTEST, *everything, *session.posargs, env=OTHER_CLIENTS)
    else:
        # The emulator, the protocol and the properties do not depend on ansible-core: of the last, a few cases. Nor
        # does what is pure or speaks HTTP, but on Python and requests: the oldest and the newest run its tests.
        few = ["--hypothesis-profile=few", f"--ignore={PROTOCOL}", "tests/unit/plugins"]
        few += [] if core is CORES[0] else [f"--ignore-glob=*/test__{name}*.py" for name in WITHOUT_ANSIBLE]
        if core.others:
            # urllib3 before 2.0 leaves a socket to the garbage collector when a proxy answers with an error.
            few += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
        session.run("python", *PYTEST, *few, *session.posargs)


def integration(core: Core, session: Session) -> None:
    install(session, *core.others, core=core.package)
    tests = EVERYTHING_ELSE if core is MAIN else INTEGRATION_TESTS.get(core.name, EVERYTHING_ELSE)
    if THOROUGH and core is not MAIN:
        tests = (MODULES, PROMISES, DRIFT, EXPORT, ROLE_COURSE)
    pytest(session, "not containers", *tests)


for _core in CORES:
    for _kind, _function, _what in (
        ("unit", unit, "Each decision by itself, from tables and properties"),
        ("integration", integration, "Real Ansible against emulated clients over HTTPS"),
    ):
        _session = functools.partial(_function, _core)
        _session.__doc__ = f"{_what}, {_core.package}"
        _needs = ("other-clients",) if _kind == "unit" and _core is MAIN else ()
        gate(f"{_kind}-{_core.name}", python=_core.python, requires=_needs)(_session)


@gate("promises", python=MAIN.python)
def promises(session: Session) -> None:
    """What is promised of the role, as people use it; what needs an engine is in `containers`"""
    install(session)
    pytest(session, "not containers", PROMISES)


@gate("playbooks", python=MAIN.python)
def playbooks(session: Session) -> None:
    """Drift, export, campaigns and jobs of AWX do what their pages say"""
    install(session)
    pytest(session, "not containers", *PLAYBOOKS)


@gate("kubernetes", python=MAIN.python)
def kubernetes(session: Session) -> None:
    """The backend kubernetes against a real API server and its controllers"""
    install(session)
    pytest(session, "not containers", KUBERNETES, env={ASSETS_VARIABLE: str(ensure_control_plane())})


@gate("containers", python=MAIN.python, requires=("other-clients",))
def containers(session: Session) -> None:
    """Rolling restarts of real containers on real engines"""
    install(session)
    # In this order: deployments that several tests share stay up, and some promises are about a host without others.
    pytest(session, "containers", PROMISES, "tests/integration/containers", env=engine_variables() | OTHER_CLIENTS)


@gate("browser")
def browser(session: Session) -> None:
    """The drift report and the documentation site in a real browser"""
    site = build_site(session)
    programs = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if not any(map(shutil.which, programs)) and can_install():
        # Letters for what the report shows; a machine without a screen may have none at all.
        install_packages({"chromium": "chromium", "fonts-dejavu-core": "chromium"})
    found = next(filter(None, map(shutil.which, programs)), None)
    if found is None:
        raise Missing("no Chromium on the PATH; it can be installed from here only by root on Debian or Ubuntu")
    env = {"WABIZ_DOCS_SITE": str(site), "WABIZ_CHROMIUM": found}
    session.run("python", *PYTEST, BROWSER_TESTS, *session.posargs, env=env)


@gate("molecule")
def molecule(session: Session) -> None:
    """The role in a scenario of Molecule, with local processes"""
    run_molecule(session, "local_processes", {})


@gate("molecule-containers")
def molecule_containers(session: Session) -> None:
    """The role in a scenario of Molecule, with containers"""
    run_molecule(session, "single_client_containers", engine_variables())


def run_molecule(session: Session, scenario: str, env: dict[str, str]) -> None:
    install(session, "molecule>=25.7")
    place = CACHE / "molecule" / scenario
    shutil.rmtree(place, ignore_errors=True)
    private = {"MOLECULE_EPHEMERAL_DIRECTORY": str(place), "ANSIBLE_FORCE_COLOR": "0"}
    session.run("molecule", "test", "--scenario-name", scenario, env=env | private)


# --- sanity ---

# Where ansible-test looks at everything: the oldest, what a Debian's Python can carry, and the newest.
SANITY_CORES = tuple(core for core in CORES if core.name in ("core-2.16", "core-2.19", "core-newest"))
# What is shipped, and what ansible-test is told to ignore of it.
SHIPPED_FOLDERS = ("meta", "plugins", "roles", "playbooks", "changelogs", "docs", "tests/sanity")


def sanity(core: Core, session: Session) -> None:
    session.install(core.package)
    # Without folders ansible-test looks at the whole repository.
    ansible_test(session, (), "--python", core.python)


for _core in SANITY_CORES:
    _session = functools.partial(sanity, _core)
    _session.__doc__ = f"All of ansible-test's sanity tests on the whole repository, {_core.package}"
    gate(f"sanity-{_core.name}", python=_core.python)(_session)


@gate(f"sanity-python-{OLDEST_PYTHON}", python=MAIN.python)
def sanity_oldest_python(session: Session) -> None:
    """Shipped code compiles and imports on the oldest Python of a managed host"""
    if shutil.which(f"python{OLDEST_PYTHON}") is None:
        session.skip(f"no Python {OLDEST_PYTHON} on this machine")
    session.install(MAIN.package)
    ansible_test(session, SHIPPED_FOLDERS, "--python", OLDEST_PYTHON, "--test", "compile", "--test", "import")


def ansible_test(session: Session, folders: Iterable[str], *arguments: str) -> None:
    copy = copy_collection(session.name)
    checked = [f"{folder}/" for folder in folders if (copy / folder).is_dir()]
    log = CACHE / "logs" / f"{session.name}.ansible-test.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    session.chdir(copy)
    while True:
        try:
            with log.open("w") as output:
                command = ("ansible-test", "sanity", "--venv", "--color", "no", *arguments, *checked)
                session.run(*command, stdout=output, stderr=subprocess.STDOUT)
        except nox.command.CommandFailed:
            wanted = re.search(r"manually downloaded and saved to: (\S+)", log.read_text())
            if wanted is None or Path(wanted[1]).exists():
                raise
            replace_pip_bootstrap(session, Path(wanted[1]))
            continue
        finally:
            session.log(log.read_text())
        break
    if "All targets skipped" in log.read_text():
        session.error("ansible-test found nothing to check")


def replace_pip_bootstrap(session: Session, path: Path) -> None:
    """Write what ansible-test could not download: a script that brings the pip version that it is called with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    version = path.stem.removeprefix("get_pip_").replace("_", ".")
    download = (*PIP, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(path.parent))
    session.run(*download, f"pip=={version}", external=True, silent=True)
    # Unpacked, since each of dozens of environments would first install an older pip to install this one with, and
    # then setuptools and wheel.
    path.write_text(
        "import pathlib, subprocess, sys, sysconfig, zipfile\n"
        "for word in sys.argv[1:]:\n"
        "    if '==' in word:\n"
        "        wheel = '-'.join(word.split('==')) + '-*.whl'\n"
        "        if not any(pathlib.Path(__file__).parent.glob(wheel)):\n"
        f"            subprocess.check_call([*{download}, word])\n"
        "        (found,) = pathlib.Path(__file__).parent.glob(wheel)\n"
        "        zipfile.ZipFile(found).extractall(sysconfig.get_paths()['purelib'])\n"
    )


# --- what is built ---

# What the tarball may hold; all else of the repository is for those who develop it.
SHIPPED = {"meta", "plugins", "roles", "playbooks", "docs", "changelogs", "extensions"}
WHOLLY_SHIPPED = {"meta", "plugins", "roles", "playbooks"}
SHIPPED_FILES = {"FILES.json", "MANIFEST.json", "README.md", "CHANGELOG.md", "CHANGELOG.rst", "LICENSE"}


@gate("build", python=MAIN.python)
def build(session: Session) -> None:
    """The tarball holds what it should, and what was installed from it runs the demo and every documented example"""
    install(session)
    artifact, installed = install_artifact(session)
    check_contents(session, artifact)
    for other in (COLLECTIONS / COLLECTION_PATH.parts[0]).iterdir():
        if other.name != COLLECTION_PATH.parts[1]:
            (installed / COLLECTION_PATH.parts[0] / other.name).symlink_to(other)
    call_each_module(session)
    session.run("python", "tests/demo/demo.py", env={"PYTHONPATH": str(EMULATOR)})
    session.run("python", *PYTEST, DOCS_EXAMPLES)


def install_artifact(session: Session) -> tuple[Path, Path]:
    """Build the tarball, install it, and let nothing else be found; the tarball, and the place of the collections."""
    place = CACHE / "artifact" / session.name
    shutil.rmtree(place, ignore_errors=True)
    command = ("ansible-galaxy", "collection")
    session.run(*command, "build", "--output-path", str(place), str(copy_collection(session.name)))
    (artifact,) = place.glob("*.tar.gz")
    installed = place / "installed"
    # With --force nothing counts as installed already.
    options = ("--no-deps", "--offline", "--force", "--collections-path", str(installed))
    session.env["ANSIBLE_COLLECTIONS_PATH"] = str(installed)
    session.run(*command, "install", *options, str(artifact))
    return artifact, installed


def check_contents(session: Session, artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    if strange := sorted(name for name in names if name.split("/")[0] not in SHIPPED | SHIPPED_FILES):
        session.error(f"the tarball holds {', '.join(strange[:5])}; see build_ignore in galaxy.yml")
    # Without an action its module still runs, as a process of its own.
    if missing := {str(path) for path in collection_files() if path.parts[0] in WHOLLY_SHIPPED} - set(names):
        session.error(f"the tarball lacks {', '.join(sorted(missing)[:5])}; see build_ignore in galaxy.yml")


def call_each_module(session: Session) -> None:
    """Call each module of the installed collection without its required options: it must answer in one clear line."""
    for path in sorted((ROOT / "plugins" / "modules").glob("wa_*.py")):
        name = ".".join([*COLLECTION_PATH.parts[1:], path.stem])
        output = str(session.run("ansible", "localhost", "--module-name", name, silent=True, success_codes=[2]))
        answers = re.findall(r"^localhost \| FAILED! => (\{.*?^\})", output, re.DOTALL | re.MULTILINE)
        if not answers or not json.loads(answers[-1]).get("msg") or "Traceback" in answers[-1]:
            session.error(f"{name} without options gave no clear message:\n{output}")


@gate("execution-environment", python=MAIN.python)
def execution_environment(session: Session) -> None:
    """Jobs in an execution environment that ansible-builder makes of the tarball, with the network cut"""
    install(session, "ansible-builder>=3.1")
    artifact, installed = install_artifact(session)
    told = str(session.run("ansible-builder", "introspect", "--sanitize", str(installed), silent=True))
    if "'requests>=2.25  # from collection wabiz.onprem'" not in told:
        session.error(f"ansible-builder does not learn from the collection that it needs requests:\n{told}")
    env = engine_variables()
    env["WABIZ_EXECUTION_ENVIRONMENT"] = build_execution_environment(session, env["WABIZ_DOCKER"], artifact)
    pytest(session, "containers", EXECUTION_ENVIRONMENT, env=env)


def build_execution_environment(session: Session, docker: str, artifact: Path) -> str:
    """Build an image with the collection from the base image that is there, without a network; its id."""
    place = artifact.parent
    ask = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
    said = session.run(docker, "run", "--rm", BASE_IMAGE, "python3", "-c", ask, external=True, silent=True)
    python, version = str(said).split()
    # What the collection itself needs the builder has to find out; of the rest, what it installs without being asked.
    packages = ("ansible-core", "ansible-runner", "bindep", "dumb-init==1.2.5", "packaging", "pip", "pyyaml")
    wheels = ("--only-binary", ":all:", "--python-version", version, "--dest", str(place / "wheels"))
    requirements = ("--requirement", str(ROOT / "meta" / "ee-requirements.txt"))
    session.run(*PIP, "download", *wheels, *requirements, *packages, external=True, silent=True)
    definition = {
        "version": 3,
        "images": {"base_image": {"name": BASE_IMAGE}},
        "dependencies": {
            "python_interpreter": {"python_path": python},
            "ansible_core": {"package_pip": "ansible-core"},
            "ansible_runner": {"package_pip": "ansible-runner"},
            "galaxy": {"collections": [{"name": f"galaxy/{artifact.name}", "type": "file"}]},
        },
        "additional_build_files": [{"src": artifact.name, "dest": "galaxy"}, {"src": "wheels", "dest": "wheels"}],
        "additional_build_steps": {
            "prepend_base": [
                "COPY _build/wheels /wheels",
                "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels",
                # Debian's Python has neither pip nor ensurepip, with which the builder would install it.
                "RUN PYTHONPATH=$(echo /wheels/pip-*.whl) $PYCMD -m pip install --ignore-installed pip",
            ]
        },
        "options": {"package_manager_path": "/usr/bin/apt-get", "skip_pip_install": True},
    }
    (place / "execution-environment.json").write_text(json.dumps(definition))
    context = place / "context"
    with session.chdir(place):
        session.run("ansible-builder", "create", "--file", "execution-environment.json", "--context", str(context))
    names = ("--tag", "wabiz-test-execution-environment:1", "--file", str(context / "Containerfile"), str(context))
    built = session.run(docker, "build", "--quiet", "--network", "none", *names, external=True, silent=True)
    # Not the tag: meanwhile another checkout may have given it to an image of its own.
    return str(built).split()[-1]


def build_site(session: Session) -> Path:
    """Build the documentation site and return its first page. What Sphinx warns of fails."""
    install(session, REQUIREMENTS / "docs.txt")
    source = CACHE / "docs" / "source"
    shutil.rmtree(source.parent, ignore_errors=True)
    (source / "reference").mkdir(parents=True)
    for page in ("docs", "roles/wa_settings/README.md", "CHANGELOG.md", "LICENSE"):
        # Where they lie in the repository, so that the links between them hold.
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / page).is_dir() else shutil.copy)(ROOT / page, source / page)
    shutil.rmtree(source / "docs" / "docsite")  # for antsibull-docs
    docsite = ROOT / "tests" / "docsite"
    (source / "index.md").write_text((ROOT / "README.md").read_text() + (docsite / "contents.md").read_text())
    # Stricter than the gate docs-check: no reference to a collection that nobody names.
    checks = ("--plugin-docs", "--skip-rstcheck", "--validate-collection-refs", "all")
    session.run("antsibull-docs", "lint-collection-docs", *checks, "--disallow-unknown-collection-refs", str(ROOT))
    options = ("--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", str(source / "reference"))
    session.run("antsibull-docs", "collection", *options, "wabiz.onprem")
    site = source.parent / "html"
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-c", str(docsite), str(source), str(site))
    return site / "index.html"


@gate("docs")
def docs(session: Session) -> None:
    """The documentation site, in .cache/docs"""
    session.log(f"site in {build_site(session)}")


# --- measurements, and what people try out ---


@gate("demo", python=MAIN.python)
def demo(session: Session) -> None:
    """The main job on local emulated clients, without a container engine"""
    install(session)
    session.run("python", "tests/demo/demo.py", *session.posargs, env={"PYTHONPATH": str(EMULATOR)})


@gate("bench")
def bench(session: Session) -> None:
    """The measurements; with an engine if one runs anyway"""
    install(session, ROOT / "tests" / "bench" / "requirements.txt")
    variables = {"PYTHONPATH": str(EMULATOR)}
    if (engine := running_engine()) is not None:
        ensure_images(engine)
        variables |= engine.variables()
    session.run("python", "tests/bench/bench.py", *session.posargs, env=variables)


@gate("bench-quick")
def bench_quick(session: Session) -> None:
    """The measurements run and count the right requests, whatever comes out of them"""
    install(session, ROOT / "tests" / "bench" / "requirements.txt")
    output = str(
        session.run("python", "tests/bench/bench.py", "--quick", env={"PYTHONPATH": str(EMULATOR)}, silent=True)
    )
    session.log(output)
    for line in output.splitlines():
        if line.startswith("nothing is measured over SSH"):
            session.log(f"REMARK: {line}")


@gate("bench-containers")
def bench_containers(session: Session) -> None:
    """The measurement of a restart runs on real containers"""
    install(session, ROOT / "tests" / "bench" / "requirements.txt")
    env = engine_variables() | {"PYTHONPATH": str(EMULATOR)}
    session.run("python", "tests/bench/restart_overhead.py", "--rounds", "1", env=env)


# What runs the shipped code inside Ansible's processes adds what no unit test reaches.
COVERED_BY = ("tests/unit/plugins", *(f"tests/integration/{name}" for name in ("role", "drift", "export", "campaign")))


@gate("coverage")
def coverage(session: Session) -> None:
    """Which branches of the shipped code the tests leave out; with arguments, other tests"""
    # With `patch`, which follows processes that end without a word.
    install(session, "coverage>=7.10")
    (CACHE / "coverage").mkdir(parents=True, exist_ok=True)
    tests = session.posargs or COVERED_BY
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", "-m", "not containers and not thorough", *tests)
    session.run("coverage", "combine", "--quiet")
    least = [] if session.posargs else [f"--fail-under={LEAST_COVERED}"]
    session.run("coverage", "report", "--show-missing", "--skip-covered", *least)


@gate("mutants")
def mutants(session: Session) -> None:
    """Changes of the code that decides, which unit tests have to notice"""
    install(session, ROOT / "tests" / "mutants" / "requirements.txt")
    session.run("python", "tests/mutants/mutants.py", *session.posargs)


@nox.session(venv_backend="none")
def clean(session: Session) -> None:
    """Stop the engine if the set-up started it; `make clean` removes the cache after that"""
    stop_engine()


# --- all of it ---

# Groups, and their gates. What takes seconds first, then what takes longest, so that both ends of the work are
# reached at the same time.
GATES = [
    *(("lint", name) for name in ("ruff", "mypy", "yamllint", "antsibull-nox-config", "changelog")),
    *(
        ("lint", name)
        for name in ("license-check", "spelling", "extra-checks", "docs-check", "ansible-lint", "ansible-doc")
    ),
    ("containers", "containers"),
    # Each of these has to wait for the one before, so they are not left for the end.
    ("molecule", "molecule-containers"),
    ("containers", "execution-environment"),
    ("containers", "bench-containers"),
    ("integration", "browser"),
    ("integration", "promises"),
    ("integration", f"integration-{MAIN.name}"),
    ("integration", "playbooks"),
    ("integration", "kubernetes"),
    ("unit", f"unit-{MAIN.name}"),
    ("build", "build"),
    *(("integration", f"integration-{core.name}") for core in CORES if core is not MAIN),
    *(("unit", f"unit-{core.name}") for core in CORES if core is not MAIN),
    *(("sanity", f"sanity-{core.name}") for core in SANITY_CORES),
    ("smoke", "bench-quick"),
    ("molecule", "molecule"),
    ("build", "build-import-check"),
    ("sanity", f"sanity-python-{OLDEST_PYTHON}"),
    ("smoke", "demo"),
]


@nox.session(venv_backend="none")
def gates(session: Session) -> None:
    """Gates side by side, and the table of them: `nox -s gates -- [GATE or group]... [-- arguments of pytest]`"""
    words = list(session.posargs)
    end = words.index("--") if "--" in words else len(words)
    named, arguments = words[:end], words[end + 1 :]
    if unknown := set(named) - {word for each in GATES for word in each}:
        session.error(f"no such gate: {', '.join(sorted(unknown))}")
    names = [name for group, name in GATES if not named or name in named or group in named]
    known = nox.registry.get()
    proofs = {name: str(known[name].__doc__).splitlines()[0].rstrip(".") for name in names}
    if any(known[name].requires for name in names):
        # Two of them side by side would both make it.
        session.run(sys.executable, "-m", "nox", "--session", "other-clients", external=True)
    if len(names) == 1:
        session.run(sys.executable, "-m", "nox", "--session", *names, "--", *arguments, external=True)
    elif not run_gates(proofs, arguments, timeout=GATE_TIMEOUT_SECONDS):
        session.error("not all gates passed")
