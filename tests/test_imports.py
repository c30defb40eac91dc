"""Who may import whom. What a module may not import, it cannot come to depend on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from circuit_harness.plugin.command_line import OPTIONS

ROOT = Path(__file__).parent.parent

LAYERS = {
    "display": set[str](),
    "errors": {"display"},
    "wire": set[str](),
    "wire.address": {"errors"},
    "wire.status": {"errors"},
    "wire.gob": {"errors", "display"},
    "wire.compiled": {"errors", "display", "wire.gob"},
    "wire.frames": {"errors"},
    "wire.auth": {"errors", "display"},
    "wire.messages": {"errors", "wire.gob"},
    "wire.mux": {"errors", "wire.compiled", "wire.frames", "wire.messages"},
    "net": set[str](),
    "net.futures": {"errors"},
    "net.transport": {"errors", "display", "wire.auth"},
    "net.session": {
        *("errors", "wire.address", "wire.auth", "wire.frames", "wire.messages", "wire.mux"),
        *("net.futures", "net.transport"),
    },
    "net.connections": {"errors", "net.session", "net.transport"},
    "net.lifeline": {
        *("errors", "wire.auth", "wire.frames", "wire.messages"),
        *("net.session", "net.transport", "net.connections"),
    },
    "net.pointers": {"wire.address"},
    "net.held_signals": set[str](),
    "net.shared_loop": {"errors", "net.held_signals"},
    "net.dialed": {
        *("errors", "wire.address", "wire.auth"),
        *("net.connections", "net.futures", "net.session"),
    },
    "net.diagnosis": {"errors", "wire.address"},
    "net.ahead": {"wire.address", "net.pointers"},
    "net.held": {"wire.address", "wire.messages", "net.dialed", "net.pointers", "net.shared_loop"},
    "net.lifeline_watch": {
        *("errors", "wire.address", "wire.auth", "wire.messages"),
        *("net.dialed", "net.futures", "net.lifeline", "net.session"),
    },
    "net.calls": {
        *("errors", "wire.address", "wire.messages"),
        *("net.dialed", "net.held", "net.lifeline_watch", "net.pointers", "net.session"),
    },
    "net.runtime": {
        *("errors", "wire.address", "wire.auth", "wire.messages"),
        *("net.ahead", "net.calls", "net.diagnosis", "net.dialed", "net.futures", "net.held", "net.lifeline_watch"),
        *("net.pointers", "net.session", "net.shared_loop"),
    },
    "elements": set[str](),
    "elements.element": {"errors", "wire.messages", "net.calls", "net.held", "net.runtime"},
    "elements.streams": {
        *("errors", "display", "wire.messages", "net.calls", "net.futures", "net.held", "net.runtime"),
        "elements.element",
    },
    "elements.exchange": {
        *("errors", "display", "wire.address", "net.calls", "net.futures", "net.held", "net.runtime"),
        *("elements.streams",),
    },
    "elements.proc": {
        *("errors", "display", "wire.messages", "wire.status", "net.calls", "net.held", "net.runtime"),
        *("elements.element", "elements.exchange", "elements.streams"),
    },
    "elements.chan": {"errors", "wire.messages", "net.held", "net.runtime", "elements.element", "elements.streams"},
    "elements.subscription": {
        "errors",
        "wire.messages",
        "net.held",
        "net.runtime",
        "elements.element",
        "elements.streams",
    },
    "elements.server": {"errors", "wire.messages", "net.held", "net.runtime", "elements.element", "elements.streams"},
    "client": {
        *("errors", "display", "wire.address", "wire.auth", "wire.messages", "net.held", "net.runtime"),
        *("elements.element", "elements.proc", "elements.chan", "elements.subscription", "elements.server"),
    },
    "job": {
        *("errors", "display", "net.futures", "net.held", "net.runtime"),
        *("elements.element", "elements.proc", "elements.streams", "client"),
    },
    "": {
        *("errors", "display", "wire.address", "wire.auth", "wire.status"),
        *("elements.element", "elements.streams", "elements.proc", "elements.chan", "elements.subscription"),
        *("elements.server", "client", "job"),
    },
}
"""Each module of circuit, and the others that it may import, at run time or for a type checker."""

PURE = [name for name in LAYERS if name in ("display", "errors") or name.startswith("wire")]
"""Bytes in, values out: no socket, thread or clock."""

CLIENT_ONLY = {
    "net.lifeline",
    "net.pointers",
    "net.held_signals",
    "net.shared_loop",
    "net.dialed",
    "net.diagnosis",
    "net.ahead",
    "net.held",
    "net.lifeline_watch",
    "net.calls",
    "net.runtime",
    "client",
    "job",
    "",
    *(name for name in LAYERS if name.startswith("elements")),
}
"""What the node does without."""

IMPURE = {"asyncio", "os", "select", "selectors", "socket", "ssl", "subprocess", "threading", "time"}

PACKAGES = {"circuit", "circuit_harness", "localhosts", "deploy", "fixtures", "checks", "tests", "bench", "fuzz"}


def imports(path: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Every module that a file imports at run time, with the names taken from it; none for ``import module``.

    In circuit, those that only a type checker imports are among them.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if path.is_relative_to(ROOT / "circuit") else _run_time(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, frozenset[str]()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join((*package, *(node.module or "").split(".")))
            yield module.strip("."), frozenset(alias.name for alias in node.names)


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children: Iterable[ast.AST] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield child
        yield from _run_time(child)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def modules(path: Path) -> set[str]:
    """What a file imports, with ``from package import module`` spelled out."""
    found = set()
    for module, names in imports(path):
        found.add(module)
        found |= {f"{module}.{name}" for name in names if (ROOT / module.replace(".", "/") / f"{name}.py").exists()}
    return found


def top_level(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in modules(path)}


def ours(path: Path) -> set[str]:
    return top_level(path) & PACKAGES


def named(paths: Iterable[Path]) -> pytest.MarkDecorator:
    """Runs a test for each of the files."""
    listed = list(paths)
    return pytest.mark.parametrize("path", listed, ids=[str(path.relative_to(ROOT)) for path in listed])


COMMAND_LINE = {
    "output": set[str](),
    "arguments": {"output"},
    "lookup": {"arguments", "output"},
    "verbs": {"lookup", "output"},
    "attached": {"arguments", "output"},
    "run_everywhere": {"arguments", "attached", "lookup", "output"},
    "run_command": {"attached", "lookup", "run_everywhere"},
    "shell_command": {"attached", "lookup", "output"},
    "main": {"arguments", "output", "run_command", "shell_command", "verbs"},
    "__init__": set[str](),
}
"""Each module of circuit.cli, and the others that it may import."""


def file_of(name: str) -> Path:
    """The file of a module of circuit, or of a package."""
    path = ROOT.joinpath("circuit", *name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


CIRCUIT = {file_of(name): name for name in LAYERS}
"""The files that have a layer, and the names of their modules."""


def test_every_module_of_circuit_has_its_layer() -> None:
    apart = {ROOT / "circuit/__main__.py", *files("circuit/cli"), *files("circuit/node")}
    assert set(files("circuit")) - apart == set(CIRCUIT)


def test_the_layers_have_no_circle() -> None:
    seen: set[str] = set()
    for name, below in LAYERS.items():
        assert below <= seen, f"{name} stands before what it imports"
        seen.add(name)


def layers_in(path: Path) -> set[str]:
    """The modules of circuit that a file imports; a package counts where nothing of it is named."""
    found = {module for module in modules(path) if module.partition(".")[0] == "circuit"}
    return {
        module.removeprefix("circuit").removeprefix(".")
        for module in found
        if not any(other.startswith(f"{module}.") for other in found)
    }


@named(CIRCUIT)
def test_a_module_of_circuit_imports_from_below(path: Path) -> None:
    assert layers_in(path) <= LAYERS[CIRCUIT[path]]


@named(files("circuit/cli"))
def test_a_module_of_the_command_line_imports_from_below(path: Path) -> None:
    found = {module for module in modules(path) if module.startswith("circuit.cli.")}
    assert found <= {f"circuit.cli.{name}" for name in COMMAND_LINE[path.stem]}


@named(map(file_of, PURE))
def test_what_turns_bytes_into_values_does_no_io(path: Path) -> None:
    assert not top_level(path) & IMPURE


@named(files("circuit"))
def test_circuit_knows_none_of_the_others(path: Path) -> None:
    assert ours(path) <= {"circuit"}
    assert not top_level(path) & {"pytest", "testinfra"}


@named(files("circuit/node"))
def test_the_node_uses_what_stands_before_the_client(path: Path) -> None:
    assert {name for name in layers_in(path) if not f"{name}.".startswith("node.")} <= set(LAYERS) - CLIENT_ONLY
    assert all(module.startswith("circuit") for module, _ in imports(path) if module.partition(".")[0] in PACKAGES)
    assert "circuit" not in {module for module, _ in imports(path)}
    assert "Crypto" not in top_level(path)


@named([*CIRCUIT, *files("circuit/cli")])
def test_the_client_does_not_know_the_node(path: Path) -> None:
    assert not [module for module in modules(path) if module.startswith("circuit.node")]


@named(
    [
        *files("circuit_harness"),
        *files("deploy"),
        *files("fixtures"),
        *files("checks"),
        *files("circuit/cli"),
        ROOT / "circuit/__main__.py",
    ]
)
def test_only_the_public_names_of_circuit_are_used(path: Path) -> None:
    import circuit

    own = path.is_relative_to(ROOT / "circuit")
    for module, names in imports(path):
        if own and module.startswith("circuit.cli"):
            continue
        assert not module.startswith("circuit."), f"{path} imports {module}"
        if module == "circuit":
            assert names <= set(circuit.__all__)


HARNESS = (
    "secret",
    "remedies",
    "errors",
    "steps",
    "remote",
    "journal",
    "operations",
    "services",
    "engine",
    "report",
    "plugin",
)
"""The parts of circuit_harness; each imports only from itself and those before it."""

PYTEST_SIDE = ("report", "plugin")


@named(files("circuit_harness"))
def test_a_part_of_the_harness_imports_from_below(path: Path) -> None:
    assert ours(path) <= {"circuit", "circuit_harness", *(("localhosts",) if "plugin" in path.parts else ())}
    part = path.relative_to(ROOT / "circuit_harness").with_suffix("").parts[0]
    if part != "__init__":
        found = {module.split(".")[1] for module in modules(path) if module.startswith("circuit_harness.")}
        assert found <= set(HARNESS[: HARNESS.index(part) + 1])
        assert part in PYTEST_SIDE or not top_level(path) & {"pytest", "testinfra"}


@named(path for part in ("engine", "report", "plugin") for path in files(f"circuit_harness/{part}"))
def test_no_service_is_known_by_name(path: Path) -> None:
    found = {module for module in modules(path) if module.startswith("circuit_harness.services.")}
    assert found <= {"circuit_harness.services.protocol"}


BELOW_PYTEST = [
    path
    for path in sorted(ROOT.joinpath("circuit_harness").rglob("*"))
    if path.suffix in (".py", ".sh") and path.relative_to(ROOT).parts[1] not in PYTEST_SIDE
]
"""Where pytest is not known, nor what its user types."""


@named(BELOW_PYTEST)
def test_no_option_of_pytest_is_spelled_below_the_plugin(path: Path) -> None:
    spelled = re.compile(rf"(?<![\w-])({'|'.join([*OPTIONS, '--hosts'])})(?![\w-])")
    assert not spelled.findall(path.read_text())


@named(files("deploy"))
def test_deploy_knows_the_harness_and_no_test(path: Path) -> None:
    assert ours(path) <= {"circuit_harness", "deploy"}
    assert not top_level(path) & {"pytest", "testinfra"}


@named(files("fuzz"))
def test_the_fuzzer_knows_circuit_alone(path: Path) -> None:
    assert ours(path) <= {"circuit", "fuzz"}


@named(files("localhosts"))
def test_localhosts_knows_none_of_the_others(path: Path) -> None:
    assert ours(path) <= {"localhosts"}
    assert not top_level(path) & {"pytest", "testinfra", "_pytest"}


@named(files("fixtures"))
def test_fixtures_join_the_others(path: Path) -> None:
    assert ours(path) <= {"circuit", "circuit_harness", "deploy", "localhosts", "fixtures"}


CHECKS = {
    *("circuit", "deploy.services", "fixtures.connections", "fixtures.services"),
    *(
        f"circuit_harness.{name}"
        for name in (
            *("secret", "journal.lease", "journal.record"),
            *("operations.addresses", "operations.ports", "operations.sandbox"),
            *("services.mysql", "services.mysql.data", "services.program"),
        )
    ),
    *(f"circuit_harness.remote.{name}" for name in ("address", "circuit_host", "command", "host", "shell")),
}
"""All of ours that checks use: what fixtures hand to them, names and limits of what was deployed, commands on its host.

What deploys, takes down, picks hosts or reports is the run's alone.
"""


@named(files("checks"))
def test_a_check_uses_what_it_looks_through_and_nothing_that_deploys(path: Path) -> None:
    found = {module for module in modules(path) if module.partition(".")[0] in PACKAGES}
    spelled_out = {module for module in found if not any(other.startswith(f"{module}.") for other in found)}
    assert spelled_out <= CHECKS


def test_all_that_checks_may_use_is_used() -> None:
    """The list grows by what a check needs, and not ahead of it."""
    assert set().union(*(modules(path) for path in files("checks"))) >= CHECKS


def test_nobody_uses_what_is_private_to_pytest() -> None:
    """A new release of it may have it elsewhere, or not at all."""
    everything = [ROOT / "conftest.py", *(path for package in sorted(PACKAGES) for path in files(package))]
    assert len(everything) > 100
    assert [path for path in everything if "_pytest" in top_level(path)] == []


def test_variables_of_our_own_frames_are_shown_nowhere() -> None:
    """What came from a host is not known for a secret before somebody says so: a new package is no exception."""
    from circuit_harness.plugin.harness import is_of_tests

    tests = {path for package in ("checks", "tests") for path in files(package) if path.name.startswith("test_")}
    every = {path for package in PACKAGES for path in files(package)}
    shown = {path for path in every if is_of_tests(str(path.relative_to(ROOT)), tests)}
    assert shown == tests | {path for path in files("tests") if path.name == "conftest.py"}
