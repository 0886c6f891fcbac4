# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes API server and its controllers: from KUBEBUILDER_ASSETS, or built from Debian's source package."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from common import CACHE, Missing, can_install, install_packages, require, say

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
PACKAGES = {"golang-go": "go", "etcd-server": "etcd", "dpkg-dev": "dpkg-source", "rsync": "rsync"}
APT_SOURCES = Path("/etc/apt")
# A target, and what the makefile above it would tell: there is none for this alone.
GENERATED = [
    *("pkg/generated/openapi/zz_generated.openapi.go", "CALLED_FROM_MAIN_MAKEFILE=1", "KUBE_VERBOSE=1"),
    *("META_DIR=.make", "OUT_DIR=_output", "BIN_DIR=_output/bin"),
    *("GENERATED_FILE_PREFIX=zz_generated.", "PRJ_SRC_PATH=k8s.io/kubernetes"),
]


def ensure_control_plane() -> Path:
    """Return the folder of the three programs. Raises Missing, or SetupFailed where building them failed."""
    if given := os.environ.get(ASSETS_VARIABLE):
        if missing := _missing(Path(given)):
            raise Missing(
                f"{ASSETS_VARIABLE}={given} lacks {', '.join(missing)}. All three are needed, those of Kubernetes in"
                " one version: https://dl.k8s.io/v<version>/bin/linux/<architecture>/kube-controller-manager"
            )
        return Path(given)
    release = platform.freedesktop_os_release() if sys.platform == "linux" else {"ID": sys.platform}
    # Built once for all clones of this user, who alone can write there.
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wabiz-onprem"
    place = user_cache / f"kubernetes-{release['ID']}-{release.get('VERSION_ID', '')}-{platform.machine()}"
    if _missing(place):
        if not can_install() or release["ID"] != "debian":
            raise Missing(
                f"{ASSETS_VARIABLE} names no folder with {', '.join(PROGRAMS)}, and only root on Debian can build them"
            )
        _build(place)
    return place


def _missing(folder: Path) -> list[str]:
    return [program for program in PROGRAMS if not os.access(folder / program, os.X_OK)]


def _build(place: Path) -> None:
    say("  kubernetes: building the API server from Debian's source package (4 minutes, 2 GB for the time being)")
    install_packages(PACKAGES)
    with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as directory:
        tree = _unpacked_source(Path(directory))
        package = tree / ".go" / "src" / "k8s.io" / "kubernetes"
        package.parent.mkdir(parents=True)
        package.symlink_to("../../..")
        # Without the ceiling the build takes the commit of this repository for its own.
        env = os.environ | {"GIT_CEILING_DIRECTORIES": directory, "HOME": directory, "GOPATH": str(tree / ".go")}
        # The code for cloud providers is a third of the work, and nothing here needs it.
        env |= {"GO111MODULE": "off", "GOFLAGS": "-tags=providerless", "CGO_ENABLED": "0"}
        # What is built answers a few requests a second: compiled fast, not for speed.
        env |= {"GOGCFLAGS": "all=-N -l -dwarf=false", "GOGC": "300"}
        # All generated code but this is in the source; `make` itself would generate it all anew.
        require(["make", "--file=build/root/Makefile.generated_files", *GENERATED], what="OpenAPI", env=env, cwd=tree)
        build = ["hack/make-rules/build.sh", *(f"cmd/{program}" for program in PROGRAMS[1:])]
        require(build, what="build Kubernetes", env=env, cwd=tree)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=place.parent))
        for program in PROGRAMS:
            built = tree / "_output" / "local" / "go" / "bin" / program
            shutil.copy2(built if built.exists() else str(shutil.which(program)), draft)
        draft.chmod(0o755)
        # In one step, for another clone may look at this moment.
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)


def _unpacked_source(directory: Path) -> Path:
    """Return Debian's source tree of Kubernetes. The machine's own list of package sources stays as it is."""
    lists, state = directory / "sources", directory / "lists"
    lists.mkdir()
    state.mkdir()
    for path in [APT_SOURCES / "sources.list", *sorted((APT_SOURCES / "sources.list.d").glob("*.*"))]:
        if path.suffix in (".list", ".sources") and path.exists():
            of_source = re.sub(r"^(Types:\s*)?deb\b.*?(?=\s)", r"\1deb-src", path.read_text(), flags=re.MULTILINE)
            (lists / path.name).write_text(of_source)
    apt: list[str | Path] = ["apt-get", "--quiet", "-o", f"Dir::Etc::sourceparts={lists}"]
    apt += ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::State::Lists={state}"]
    require([*apt, "update"], what="apt-get update of the sources")
    require([*apt, "source", "--download-only", "kubernetes"], what="apt-get source kubernetes", cwd=directory)
    (description,) = directory.glob("kubernetes_*.dsc")
    require(["dpkg-source", "--extract", description, directory / "tree"], what="unpack Kubernetes")
    return directory / "tree"
