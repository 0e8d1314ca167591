"""Pages of reference that are made from the code: the Python API from its docstrings, the command from its options.

mkdocstrings would do the first as well, and would bring twelve packages along for the forty names that are public here.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import click

import testcast
import testcast.sync
from broker.contract.errors import TestcastError
from testcast.cli.main import cli

_SECTION: Final = re.compile(r"^([A-Z][A-Za-z ]*):$")
_ENTRY: Final = re.compile(r"^(\*{0,2}[\w.]+(?:, [\w.]+)*): (.*)$", re.DOTALL)


# -- the Python API -----------------------------------------------------------------------------------------------


def python() -> str:
    """The page of the Python API: every name of `testcast`, and then `testcast.sync`."""
    groups: dict[str, list[Any]] = {
        "Publishing a run": [],
        "Following, listing, submitting": [],
        "Errors": [],
    }
    for name in testcast.__all__:
        item = getattr(testcast, name)
        if inspect.isclass(item) and issubclass(item, TestcastError):
            groups["Errors"].append(item)
        elif item is testcast.HttpRun or item.__module__.startswith("agent_worker."):
            groups["Publishing a run"].append(item)
        else:
            groups["Following, listing, submitting"].append(item)
    parts = [
        "# Python API\n\nMade from the docstrings of the installed version.\n",
        docstring(testcast.__doc__),
        *(f"## {title}\n\n{''.join(map(_item, items))}" for title, items in groups.items()),
        f"## testcast.sync\n\n{docstring(testcast.sync.__doc__)}",
        *(_item(getattr(testcast.sync, name), "sync.") for name in testcast.sync.__all__),
    ]
    return "\n".join(parts)


def docstring(text: str | None) -> str:
    """A docstring in Google's style as Markdown: sections become lists."""
    lines = inspect.cleandoc(text or "").splitlines()
    made: list[str] = []
    at = 0
    while at < len(lines):
        found = _SECTION.match(lines[at])
        if found and at + 1 < len(lines) and lines[at + 1].startswith("    "):
            end = at + 1
            while end < len(lines) and (not lines[end] or lines[end].startswith("    ")):
                end += 1
            body = textwrap.dedent("\n".join(lines[at + 1 : end])).strip()
            made += [f"**{found[1]}**", "", *_entries(body), ""]
            at = end
        else:
            made.append(lines[at])
            at += 1
    return "\n".join(made).strip() + "\n"


def _entries(body: str) -> Iterator[str]:
    """The entries of a section, a list item each; a section in another form stays a paragraph."""
    entries = [" ".join(each.split()) for each in re.split(r"\n(?!\s)", body)]
    if not all(_ENTRY.match(each) for each in entries):
        yield " ".join(entries)
        return
    for entry in entries:
        found = _ENTRY.match(entry)
        assert found is not None
        names = ", ".join(f"`{name}`" for name in found[1].split(", "))
        yield f"* {names}: {found[2]}"


def _item(item: Any, prefix: str = "") -> str:
    name = f"{prefix}{item.__name__}"
    head = f"### {name}\n\n"
    if not inspect.isclass(item):
        return f"{head}{_signature(item, name)}\n{docstring(item.__doc__)}\n"
    if issubclass(item, TestcastError):
        base = item.__mro__[1].__name__
        described = docstring(vars(item).get("__doc__"))
        kind = f"Code `{item.code}`, a kind of" if "code" in vars(item) else "A kind of"
        return f"{head}{kind} `{base}`.\n\n{described}\n"
    members = [*_attributes(item), *_members(item, name)]
    own = vars(item).get("__doc__") or ""
    made_by_type = own.startswith(f"{item.__name__}(")  # what NamedTuple writes where a class has no docstring
    return "\n".join([head + ("" if made_by_type else docstring(own)), *members, ""])


def _attributes(item: type) -> Iterator[str]:
    """Attributes that a docstring follows, of the class and of what `__init__` sets."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]
    except (OSError, TypeError):
        return
    assert isinstance(tree, ast.ClassDef)
    init = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    for body in (tree.body, *(each.body for each in init)):
        for statement, following in itertools.pairwise(body):
            value = following.value if isinstance(following, ast.Expr) else None
            if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
                continue
            target = statement.target if isinstance(statement, ast.AnnAssign) else None
            if isinstance(statement, ast.Assign):
                target = statement.targets[0]  # type: ignore[assignment]
            attribute = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "_")
            if not attribute.startswith("_"):
                yield f"* `{attribute}`: {' '.join(value.value.split())}"


def _members(item: type, name: str) -> Iterator[str]:
    for each, member in vars(item).items():
        if each.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"\n#### {name}.{each}\n\nA property. {docstring(member.__doc__)}"
        elif isinstance(member, classmethod | staticmethod):
            yield f"\n#### {name}.{each}\n\n{_signature(member.__func__, f'{name}.{each}', ('cls',))}\n" + docstring(
                member.__doc__
            )
        elif inspect.isfunction(member):
            yield f"\n#### {name}.{each}\n\n{_signature(member, f'{name}.{each}', ('self',))}\n" + docstring(
                member.__doc__
            )


def _signature(function: Any, name: str, without: tuple[str, ...] = ()) -> str:
    """How a function is called, on one line or, where that is too long, a line for each parameter."""
    signature = inspect.signature(function)
    given = [each for each in signature.parameters.values() if each.name not in without]
    parts = [_parameter(each) for each in given]
    named = next((at for at, each in enumerate(given) if each.kind is each.KEYWORD_ONLY), None)
    if named is not None and not any(each.kind is each.VAR_POSITIONAL for each in given):
        parts.insert(named, "*")
    head = f"{'async ' if inspect.iscoroutinefunction(function) else ''}{name}"
    returned = "" if signature.return_annotation is signature.empty else f" -> {_type(signature.return_annotation)}"
    line = f"{head}({', '.join(parts)}){returned}"
    if len(line) > 90 and parts:
        line = f"{head}(\n" + "".join(f"    {each},\n" for each in parts) + f"){returned}"
    return f"```python\n{line}\n```\n"


def _parameter(each: inspect.Parameter) -> str:
    stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
    text = f"{stars}{each.name}"
    if each.annotation is not each.empty:
        text += f": {_type(each.annotation)}"
    if each.default is each.empty:
        return text
    return f"{text} = {'...' if callable(each.default) else repr(each.default)}"


def _type(annotation: Any) -> str:
    return str(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


# -- the command --------------------------------------------------------------------------------------------------


def command() -> str:
    """The page of the command `testcast`: what `--help` prints for it and for each of its commands."""
    parts = ["# The command\n\nMade from the installed version; `testcast COMMAND --help` prints the same.\n"]
    parts += _command(cli, "testcast", 2)
    return "\n".join(parts)


def _command(each: click.Command, name: str, level: int) -> Iterator[str]:
    context = click.Context(each, info_name=name)
    usage = " ".join([name, *each.collect_usage_pieces(context)])
    yield f"{'#' * level} {name}\n\n```text\n{usage}\n```\n"
    yield _help(each.help or "")
    records = [found for each_option in each.get_params(context) if (found := each_option.get_help_record(context))]
    records = [(names, text) for names, text in records if text]  # an argument stands in the usage
    if records:
        rows = "".join(f"| `{_cell(names)}` | {_cell(text)} |\n" for names, text in records)
        yield f"| option | |\n| --- | --- |\n{rows}"
    if isinstance(each, click.Group):
        for one in sorted(each.commands):
            yield from _command(each.commands[one], f"{name} {one}", 3)


def _help(text: str) -> str:
    """Click's help as Markdown: a paragraph after a line of `\\b` keeps its lines."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    made = []
    for each in paragraphs:
        if each.startswith("\b"):
            made.append(f"```text\n{each.removeprefix(chr(8)).strip(chr(10))}\n```")
        else:
            made.append(each.split("\f")[0])
    return "\n\n".join(made) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
