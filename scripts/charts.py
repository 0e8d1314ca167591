"""Lints and renders the Helm chart with each of its examples, and judges what comes out. `make charts` runs it.

Helm is the one on PATH, else it is built with Go, which takes minutes. What is rendered is validated against the
schemas of several versions of Kubernetes (the package kubernetes-validate, in an environment of its own) and kept in
tests/charts, where the tests look at it without Helm: each file's first line has a digest of what it was made from.

    python scripts/charts.py                        lint, render, validate, and say what has changed
    python scripts/charts.py --nats-chart DIR       render the official chart of NATS with our values too
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "deploy" / "helm" / "testcast"
EXAMPLES: Final = ROOT / "deploy" / "helm" / "examples"
NATS_VALUES: Final = ROOT / "deploy" / "helm" / "nats-values.yaml"
RENDERED: Final = ROOT / "tests" / "charts"
TOOLS: Final = ROOT / ".charts"
HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.22.0"
VALIDATE: Final = "kubernetes-validate==1.37.0"
VERSIONS: Final = ("1.27.0", "1.31.0", "1.34.0", "1.37.0")
"""Of Kubernetes: the oldest that the chart takes, some between, and the newest that is known."""
NOT_KUBERNETES: Final = ("PodMonitor", "PrometheusRule", "HTTPRoute")
"""Kinds whose schemas come with what defines them."""


class ChartError(Exception):
    """The chart is wrong, or a tool cannot be had. The message says which."""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """What a program prints.

    Raises:
        ChartError: it failed.
    """
    told = subprocess.run([str(each) for each in command], cwd=ROOT, env=environment, capture_output=True, text=True)
    if told.returncode:
        raise ChartError(f"{Path(command[0]).name} {command[1]}: {told.stderr.strip() or told.stdout.strip()}")
    return told.stdout


def helm() -> str:
    """The path of Helm.

    Raises:
        ChartError: it is not there, and cannot be built.
    """
    if found := shutil.which("helm") or shutil.which("helm", path=str(TOOLS / "bin")):
        return found
    go = shutil.which("go")
    if go is None:
        raise ChartError("Helm is not on PATH, and there is no Go to build it with")
    sys.stderr.write(f"building {HELM}: this takes minutes, once\n")
    run(go, "install", HELM, environment={**os.environ, "GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=mod"})
    return str(TOOLS / "bin" / "helm")


def validator() -> Path:
    """The path of kubernetes-validate.

    Raises:
        ChartError: it cannot be installed.
    """
    place = TOOLS / "venv"
    program = place / "bin" / "kubernetes-validate"
    if not program.exists():
        venv.create(place, with_pip=True)
        run(place / "bin" / "python", "-m", "pip", "install", "--quiet", VALIDATE)
    return program


def digest(example: Path | None) -> str:
    """Of all that a rendered file is made from."""
    parts = [each for each in sorted(CHART.rglob("*")) if each.is_file() and "files" not in each.parts]
    found = hashlib.sha256()
    for part in [*parts, *([example] if example else [])]:
        found.update(part.name.encode() + b"\0" + hashlib.sha256(part.read_bytes()).digest())
    return found.hexdigest()


def rendered(program: str, example: Path | None) -> str:
    """What Helm makes of the chart with an example's values; without the alerts, which have tests of their own."""
    chosen = ["--values", example] if example else []
    common = ["--kube-version", VERSIONS[-1], *chosen]
    run(program, "lint", CHART, "--quiet", "--strict", *common)
    text = run(program, "template", "testcast", CHART, "--namespace", "testcast", *common)
    documents = text.split("\n---\n")
    kept = [each.strip() for each in documents if "\nkind: PrometheusRule\n" not in each and each.strip()]
    return (
        f"# {digest(example)}: of the chart and its values; `make charts` makes it again\n"
        + "\n---\n".join(kept)
        + "\n"
    )


def validate(program: Path, file: Path) -> None:
    """Judges a file by the schemas of Kubernetes.

    Raises:
        ChartError: it does not fit.
    """
    kinds = [
        each
        for each in file.read_text().split("\n---\n")
        if not any(f"kind: {kind}\n" in each for kind in NOT_KUBERNETES)
    ]
    known = TOOLS / file.name
    known.write_text("\n---\n".join(kinds))
    for version in VERSIONS:
        run(program, "--strict", "--kubernetes-version", version, known)


def check(nats_chart: Path | None) -> list[str]:
    """Makes every check. Returns the names of the rendered files that have changed."""
    program, judge = helm(), validator()
    changed = []
    for example in [None, *sorted(EXAMPLES.glob("*.yaml"))]:
        text = rendered(program, example)
        file = RENDERED / (example.name if example else "defaults.yaml")
        if not file.exists() or file.read_text() != text:
            changed.append(file.name)
            file.write_text(text)
        validate(judge, file)
    if nats_chart is not None:
        text = run(program, "template", "nats", nats_chart, "--values", NATS_VALUES, "--kube-version", VERSIONS[-1])
        (TOOLS / "nats.yaml").write_text(text)
        validate(judge, TOOLS / "nats.yaml")
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 when the chart is wrong or a tool cannot be had."""
    parser = argparse.ArgumentParser(description="Lints, renders and validates the Helm chart.")
    parser.add_argument("--nats-chart", type=Path, help="a folder with the official chart of NATS")
    chosen = parser.parse_args(arguments)
    TOOLS.mkdir(exist_ok=True)
    RENDERED.mkdir(exist_ok=True)
    try:
        changed = check(chosen.nats_chart)
    except ChartError as error:
        sys.stderr.write(f"charts: {error}\n")
        return 1
    told = f"rendered anew: {', '.join(changed)}" if changed else "nothing has changed"
    sys.stdout.write(f"charts: lint and schemas of Kubernetes {', '.join(VERSIONS)} passed; {told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
