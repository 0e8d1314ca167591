"""The software bill of materials (CycloneDX 1.6, JSON) of an environment, or of what lock files put into one.

    python scripts/sbom.py testcast-edge                                     all that is installed here, as in an image
    python scripts/sbom.py testcast --lock requirements.lock [--lock …]      of it, what these files lock (make sbom)

Versions, licences and dependencies are from the metadata of the installed packages, and in an image those of Debian's
packages from dpkg. The same environment gives the same bytes: there is no time in it, and its serial number is made
from its contents. Standard library only: it runs while an image is built.
"""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import licences

_PROJECT: Final = "testcast"
_DEBIAN: Final = "${Package}\t${Version}\t${Architecture}\n"


def normal(name: str) -> str:
    """A package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(only: Collection[str] | None = None) -> dict[str, importlib.metadata.Distribution]:
    """Name -> installed package. With `only`: those of these names, and the project."""
    found = {normal(each.name): each for each in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(found) if only is None or name in only or name == _PROJECT}


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _needs(package: importlib.metadata.Distribution) -> set[str]:
    """The names of the packages that one needs: the project with its extras, others without theirs."""
    own = normal(package.name)
    wanted = [each for each in package.requires or [] if own == _PROJECT or "extra ==" not in each]
    return {normal(found.group()) for each in wanted if (found := re.match(r"[\w.-]+", each))} - {own}


def component(name: str, package: importlib.metadata.Distribution) -> dict[str, Any]:
    """A package of Python."""
    ref = _purl(name, package.version)
    told: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": name, "version": package.version, "purl": ref}
    with contextlib.suppress(ValueError):  # its metadata names none
        if expression := licences.licence(name):
            told["licenses"] = [{"expression": expression}]
    return told


def debian() -> list[dict[str, Any]]:
    """The packages of Debian that are installed; none where there is no dpkg."""
    if shutil.which("dpkg-query") is None:
        return []
    listed = subprocess.run(["dpkg-query", "-W", "-f", _DEBIAN], capture_output=True, text=True, check=True).stdout
    found = []
    for line in sorted(listed.splitlines()):
        name, version, architecture = line.split("\t")
        ref = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
        found.append({"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref})
    return found


def python() -> dict[str, Any]:
    """The interpreter."""
    version = platform.python_version()
    ref = f"pkg:generic/python@{version}"
    told = {"type": "platform", "bom-ref": ref, "name": "python", "version": version, "purl": ref}
    return {**told, "licenses": [{"expression": "PSF-2.0"}]}


def bill(subject: str, only: Collection[str] | None = None) -> dict[str, Any]:
    """The document.

    Args:
        subject: what it is the bill of, such as the name of an image.
        only: the names of packages to tell of; None: all that are installed, with those of Debian and Python itself.
    """
    installed = packages(only)
    refs = {name: _purl(name, each.version) for name, each in installed.items()}
    version = installed[_PROJECT].version if _PROJECT in installed else "0"
    about = {"type": "application" if only is not None else "container", "bom-ref": subject, "name": subject}
    components = [component(name, each) for name, each in installed.items()]
    if only is None:
        components += [python(), *debian()]
    needs = {
        refs[name]: sorted(refs[each] for each in _needs(package) & refs.keys()) for name, package in installed.items()
    }
    top = [each["bom-ref"] for each in components if only is None or each["name"] == _PROJECT]
    content = {
        "metadata": {"component": {**about, "version": version}},
        "components": components,
        "dependencies": [
            {"ref": subject, "dependsOn": top},
            *({"ref": ref, "dependsOn": found} for ref, found in needs.items()),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return {**head, **content}


def main(arguments: list[str] | None = None) -> int:
    """Writes the document to standard output."""
    parser = argparse.ArgumentParser(description="Writes a bill of materials (CycloneDX, JSON).")
    parser.add_argument("subject", help="what it is the bill of")
    parser.add_argument("--lock", type=Path, action="append", help="a lock file that says what to tell of")
    chosen = parser.parse_args(arguments)
    only = None if chosen.lock is None else {name for lock in chosen.lock for name in licences.locked(lock)}
    json.dump(bill(chosen.subject, only), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
