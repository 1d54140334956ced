"""What the service is made of, as CycloneDX in JSON: `python -m ops.sbom > sbom.json`.

The packages are those of `requirements.txt`. The JavaScript in their wheels, which scanners of Python packages miss, is
listed beneath them: each file with its SHA-256, and what is bundled from npm with its name and version there.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).parents[1]
_BUNDLES = {
    "swagger-ui-bundle.js": ("swagger-ui-dist", re.compile(rb'PACKAGE_VERSION:"([0-9.]+)"')),
}
"""Packages of npm, by the file that a wheel has of them, and where that file has its version."""


def sbom() -> dict[str, Any]:
    """The bill of materials of the locked packages; they have to be installed.

    Raises:
        LookupError: another version is installed than is locked, or a bundle does not say which one it is.
    """
    listing = ["requirements", "--pyproject", "pyproject.toml", "--output-reproducible", "requirements.txt"]
    told = subprocess.run(  # noqa: S603 - the arguments stand here
        [sys.executable, "-m", "cyclonedx_py", *listing], cwd=_PROJECT, capture_output=True, check=True
    )
    bill: dict[str, Any] = json.loads(told.stdout)
    for component in bill["components"]:
        if scripts := list(_scripts(component["name"], component["version"])):
            component["components"] = scripts
    return bill


def _scripts(package: str, version: str) -> Iterator[dict[str, Any]]:
    """The JavaScript files of a package; none where it is for other systems than this one."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return
    if installed.version != version:
        raise LookupError(f"{package} {installed.version} is installed, and {version} is locked")
    for path in installed.files or []:
        if path.suffix in (".js", ".mjs"):
            content = path.read_binary()
            yield {
                "bom-ref": f"{package}:{path}",
                **_identity(path.name, str(path), content),
                "hashes": [{"alg": "SHA-256", "content": sha256(content).hexdigest()}],
            }


def _identity(name: str, path: str, content: bytes) -> dict[str, str]:
    if name not in _BUNDLES:
        return {"type": "file", "name": path}
    package, version = _BUNDLES[name]
    if not (found := version.search(content)):
        raise LookupError(f"{path} does not say which version of {package} it is")
    return {
        "type": "library",
        "name": package,
        "version": found[1].decode(),
        "purl": f"pkg:npm/{package}@{found[1].decode()}",
        "description": path,
    }


if __name__ == "__main__":
    json.dump(sbom(), sys.stdout, indent=2)
