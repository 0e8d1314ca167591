"""House rules about Python code. Every rule takes `(path, source)` and returns what breaks it, one line each.

Paths are relative to the repository, with forward slashes. A rule never reads a file, so that a test can hand it a
broken example.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from tests.house.rooms import (
    _CLOCKS,
    AGENT_FOR_TESTCAST,
    APART,
    DOCTOR,
    HOMES,
    IMPURE,
    MAX_FILE_LINES,
    MAX_FUNCTION_LINES,
    MAY_IMPORT,
    NOT_FOR_AGENTS,
    ONLY_JETSTREAM_SAYS,
    PACKAGES,
    PURE,
    REASON_FOR_LENGTH,
    ROOMS_MAY_IMPORT,
)

Rule = Callable[[str, str], list[str]]

_ENVIRONMENT: Final = frozenset(
    {"environ", "environb", "getenv", "getenvb", "expandvars", "envvar", "auto_envvar_prefix"}
)


# -- reading a source ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=1000)
def _parsed(source: str) -> ast.Module:
    """The tree of a source, shared: not to be changed."""
    return ast.parse(source)


@lru_cache(maxsize=1000)
def nodes(source: str) -> tuple[ast.AST, ...]:
    """All nodes of a source's tree. Most rules go through them, and collecting them takes longer than parsing."""
    return tuple(ast.walk(_parsed(source)))


def matches(path: str, patterns: Iterable[str]) -> bool:
    """The path is one of these, or below one (`*` stands for anything)."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def module_of(path: str) -> str:
    """`broker/contract/ids.py` -> `broker.contract.ids`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@lru_cache(maxsize=1000)
def imports(path: str, source: str) -> frozenset[str]:
    """Every module that a file may import: absolute names, wherever in the file, whatever the form.

    `from a.b import c` gives `a.b` and `a.b.c`, since `c` may be a module.
    """
    found: set[str] = set()
    package = module_of(path).split(".")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            found |= {
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return frozenset(found)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _at_run_time(source: str) -> str:
    """The source without what stands under `if TYPE_CHECKING:`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def _top(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def docstrings(source: str) -> Iterator[ast.Constant]:
    """The docstrings of a module, its classes, functions and attributes."""
    for node in nodes(source):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value


# -- rules --------------------------------------------------------------------------------------------------------


def who_imports_whom(path: str, source: str) -> list[str]:
    """`agent_worker -> broker <- ws_edge`, `testcast` on top; nothing imports `testcast`."""
    package = path.split("/")[0]
    if path == DOCTOR or package not in MAY_IMPORT:
        return []
    found = imports(path, source)
    wrong = (_top(found) & set(PACKAGES)) - {package} - MAY_IMPORT[package]
    broken = [f"imports {name}" for name in sorted(wrong)]
    if package == "testcast":
        agent = {name for name in found if name.startswith("agent_worker") and name != "agent_worker"}
        beyond = {name for name in agent if not f"{name}.".startswith(f"{AGENT_FOR_TESTCAST}.")}
        broken += [f"imports {name}" for name in sorted(beyond - {"agent_worker.publish"})]
    return broken


def rooms_in_order(path: str, source: str) -> list[str]:
    """Inside a package, imports go one way (`ROOMS_MAY_IMPORT`): `encoding <- fanout <- transport <- api`."""
    house = next((each for each in ROOMS_MAY_IMPORT if path.startswith(f"{each}/")), None)
    if house is None:
        return []
    room = path.removeprefix(f"{house}/").split("/")[0].removesuffix(".py")
    if room not in ROOMS_MAY_IMPORT[house]:
        return []
    allowed = ROOMS_MAY_IMPORT[house][room] | {room}
    inside = f"{house.replace('/', '.')}."
    found = {name for name in imports(path, source) if name.startswith(inside)}
    return [
        f"imports {name}" for name in sorted(_shortest(found)) if name.removeprefix(inside).split(".")[0] not in allowed
    ]


def publish_and_work_know_no_game(path: str, source: str) -> list[str]:
    """`publish` and `work` serve an agent of any kind; `publish` does not know the queue either."""
    room = next((room for room in NOT_FOR_AGENTS if path.startswith(f"agent_worker/{room}/")), None)
    barred = NOT_FOR_AGENTS[room] if room is not None else ()
    names = imports(path, source)
    return [f"imports {name}" for name in sorted(names) if any(f"{name}.".startswith(f"{each}.") for each in barred)]


def rooms_stay_apart(path: str, source: str) -> list[str]:
    """Rooms that stand side by side do not import each other (`APART`)."""
    barred = next((rooms for folder, rooms in APART.items() if path.startswith(folder)), ())
    names = imports(path, source)
    return [f"imports {name}" for name in sorted(names) if any(f"{name}.".startswith(f"{each}.") for each in barred)]


def no_star_imports(path: str, source: str) -> list[str]:
    """No `from module import *`: it hides which names a file uses from every other rule."""
    found = (node for node in nodes(source) if isinstance(node, ast.ImportFrom))
    return [f"line {node.lineno}: import *" for node in found if any(each.name == "*" for each in node.names)]


def _shortest(names: Iterable[str]) -> set[str]:
    """Without the names that only continue another one."""
    every = set(names)
    return {name for name in every if not any(name.startswith(f"{other}.") for other in every)}


def only_config_reads_the_environment(path: str, source: str) -> list[str]:
    """Only the `config.py` directly below a package reads environment variables, in whatever form."""
    package, _, rest = path.partition("/")
    if package in PACKAGES and rest == "config.py":
        return []
    broken: list[str] = []
    for node in nodes(source):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "posix", "os.path", "posixpath"):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call):
            names = [keyword.arg or "" for keyword in node.keywords]
            if _name(node.func) == "getattr":
                names += [
                    each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
        broken += [f"line {node.lineno}: {name}" for name in names if name in _ENVIRONMENT]  # type: ignore[attr-defined]
    return broken


def pure_modules_stay_pure(path: str, source: str) -> list[str]:
    """A pure module imports no I/O, no clock and no randomness, and of this project only pure modules.

    What is imported for the type checker alone does not count: `rng: random.Random` is an argument.
    """
    if not matches(path, PURE):
        return []
    source = _at_run_time(source)
    found = imports(path, source)
    broken = [f"imports {name}" for name in sorted(_top(found) & IMPURE)]
    ours = _shortest({name for name in found if name.split(".")[0] in PACKAGES})
    for name in sorted(ours):
        as_file, owner = f"{name.replace('.', '/')}.py", f"{name.rpartition('.')[0].replace('.', '/')}.py"
        if not matches(as_file, PURE) and not matches(owner, PURE):
            broken.append(f"imports {name}, which is not pure")
    attributes = (node for node in nodes(source) if isinstance(node, ast.Attribute))
    dates = _names_of_dates(source)
    clocks = (node for node in attributes if node.attr in _CLOCKS and _name(node.value) in dates)
    broken += [f"line {node.lineno}: {_name(node.value)}.{node.attr} reads the clock" for node in clocks]
    return broken


def _names_of_dates(source: str) -> set[str]:
    """`datetime`, `date`, and every alias under which the source imports them or assigns them to a name."""
    names = {"datetime", "date"}
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and node.module == "datetime":
            names |= {alias.asname for alias in node.names if alias.name in ("datetime", "date") and alias.asname}
        elif isinstance(node, ast.Assign) and _name(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def one_place_knows_a_library(path: str, source: str) -> list[str]:
    """A library is imported by the files of `HOMES` and no other."""
    known = sorted(_top(imports(path, source)) & HOMES.keys())
    return [f"imports {name}" for name in known if not matches(path, HOMES[name])]


def only_jetstream_speaks_nats(path: str, source: str) -> list[str]:
    """No header, acknowledgement or API subject of NATS outside `broker/jetstream/`. Docstrings may name them."""
    if path.startswith("broker/jetstream/"):
        return []
    prose = {id(each) for each in docstrings(source)}
    broken: list[str] = []
    for node in nodes(source):
        if isinstance(node, ast.Constant) and id(node) not in prose and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            broken += [f"line {node.lineno}: {text[:40]!r}" for word in ONLY_JETSTREAM_SAYS if _says(text, word)]
    return broken


def _says(text: str, word: str) -> bool:
    """Header names (`Nats-`, `KV-`) are compared case-insensitively; the program `nats-server` is no header."""
    return word.lower() in text.replace("nats-server", "").lower() if word.endswith("-") else word in text


def functions_are_short(path: str, source: str) -> list[str]:
    """No function is longer than `MAX_FUNCTION_LINES`, from its `def` to its last line."""
    found = (node for node in nodes(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]
    return [f"{name} has {length} lines" for name, length in lengths if length > MAX_FUNCTION_LINES]


def files_are_short(path: str, source: str) -> list[str]:
    """A file of more than `MAX_FILE_LINES` says in its head why ("Longer than 400 lines: …")."""
    lines = source.splitlines()
    if len(lines) <= MAX_FILE_LINES:
        return []
    python = path.endswith(".py")
    head = (ast.get_docstring(_parsed(source)) or "") if python else source.partition("*/")[0]
    return [] if REASON_FOR_LENGTH in " ".join(head.split()) else [f"{len(lines)} lines, and no reason in its head"]


def what_is_public_has_a_docstring(path: str, source: str) -> list[str]:
    """Modules, public classes, public functions and public methods of public classes have a docstring."""
    tree = _parsed(source)
    broken = ["the module"] if tree.body and ast.get_docstring(tree) is None else []
    return broken + _undocumented(tree, "")


def _undocumented(scope: ast.Module | ast.ClassDef, prefix: str) -> list[str]:
    found: list[str] = []
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            given_elsewhere = {_name(each) for each in node.decorator_list} & {"overload", "override", "setter"}
            if ast.get_docstring(node) is None and not given_elsewhere:
                found.append(f"{prefix}{node.name}")
            if isinstance(node, ast.ClassDef):
                found += _undocumented(node, f"{prefix}{node.name}.")
    return found


def cycles(sources: Mapping[str, str]) -> list[str]:
    """Import cycles between modules, imports for types included. `sources`: path -> source."""
    modules = {module_of(path): path for path in sources}
    graph = {name: (imports(path, sources[path]) & modules.keys()) - {name} for name, path in modules.items()}
    return [" -> ".join([*sorted(each), min(each)]) for each in _components(graph) if len(each) > 1]


def _components(graph: Mapping[str, Set[str]]) -> list[set[str]]:
    """Strongly connected components: those who reach each other."""
    reached = {name: _reach(graph, name) for name in graph}
    found: list[set[str]] = []
    for name in sorted(graph):
        if not any(name in each for each in found):
            found.append({name} | {other for other in reached[name] if name in reached[other]})
    return found


def _reach(graph: Mapping[str, Set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        following = graph[ahead.pop()] - seen
        seen |= following
        ahead += following
    return seen
