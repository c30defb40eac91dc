"""Services that cannot be, as a user may declare them: each is refused in a line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from circuit_harness import DeployError, MySQL, Need, NodeApp, Place, Program
from circuit_harness.plugin.declared import services
from circuit_harness.remote.address import Addresses
from circuit_harness.services.program import Facts
from circuit_harness.services.protocol import Site, Stage

SLEEP = Need("sleep", ("sleep", "snooze"), "coreutils")


def declared(*returned: object, hooks: int = 0) -> Any:
    """What comes of conftest.py files whose hooks return this."""
    hook = Mock(side_effect=lambda config: [one() if callable(one) else one for one in returned])
    hook.get_hookimpls = lambda: range(hooks or len(returned))
    config: Any = SimpleNamespace(hook=SimpleNamespace(pytest_circuit_services=hook), rootpath="/r", inipath=None)
    return services(config, required=True)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda: [Program("Bad Name", ["sleep"], 1234)], "'Bad Name' is not a valid service name: use up to 24 "),
        (lambda: [Program("one", ["sleep"], 80)], "port 80 is not from 1024 to 65535"),
        (lambda: [Program("one", [], 1234)], "its command is empty"),
        (lambda: [Program("one", ["sleep"], 1234, uses="two")], "uses names 'two'; there is no other"),
        (lambda: [Program("host", ["sleep"], 1234)], "cannot be called host"),
        (lambda: [MySQL("one", schema=Path("nope.sql"))], "schema nope.sql is not a file"),
        (lambda: [NodeApp(name="one", folder=Path("/nope"), start=["x"])], "/nope has no package.json"),
        (lambda: Program("one", ["sleep"], 1234), "let it return a list of services"),
        (["one"], "returned ['one']: let it return a list of services"),
        ([], "no conftest.py that pytest loads at its start has the hook"),
    ],
)
def test_what_cannot_be_is_a_usage_error(returned: object, told: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(told)):
        declared(returned)


def test_a_forgotten_return_is_a_usage_error() -> None:
    with pytest.raises(pytest.UsageError, match="returned nothing"):
        declared(hooks=1)


def test_hooks_of_several_files_add_up_in_their_order() -> None:
    first, second = Program("first", ["sleep"], 1234), Program("second", ["sleep"], 1235)
    assert list(declared([second], [first])) == ["first", "second"]


def begun(program: Program, found: str = "/usr/bin/sleep") -> list[Stage]:
    """Its stages, all actions of which have been asked for."""
    facts = Facts(uid=60600, program=found, listening=(), there=None)
    site = Site("run", "X1", Addresses("10.0.0.1", "", "10.0.0.1", ""), {}, {}, name=program.name)
    stages = list(program.plan(facts, site))
    for stage in stages:
        stage.actions({})
    return stages


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"command": lambda place: ["sleep", 60], "programs": [SLEEP]}, "word 1 of its command is 60, which is not a"),
        (
            {"command": lambda place: ["sleep", place.password], "programs": [SLEEP]},
            "word 1 of its command is a secret",
        ),
        ({"env": lambda place: {"PASSWORD": place.password}}, "PASSWORD is a secret, which others could see"),
        ({"env": {"PORT": 1234}}, "PORT is 1234, which is not a string"),
        ({"env": lambda place: {"DB": place["mysql"].address}}, "one does not use mysql: name it in uses"),
        *(
            ({"files": {name: "text"}}, f"{name!r} is not a valid name of a file in its folder")
            for name in ("/etc/passwd", "../up", "a/../b", "run", "run/pid", "start.log", ".", "")
        ),
    ],
)
def test_what_functions_return_wrongly_is_said(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(DeployError, match=re.escape(told)):
        begun(Program(**{"name": "one", "command": ["sleep", "60"], "port": 1234, **parameters}))


def test_the_program_that_the_host_has_takes_the_first_word_s_place() -> None:
    """One package brings it by this name, another by that."""
    program = Program("one", lambda place: ["sleep", "60"], 1234, programs=[SLEEP])
    (_, start, *_) = begun(program, "/usr/bin/snooze")
    (action,) = start.actions({})
    assert "exec /usr/bin/snooze 60" in str(action.do)


def test_a_first_word_of_no_need_is_left_to_the_sandbox() -> None:
    """Such as a shell, which every host has."""
    program = Program("one", lambda place: ["sh", f"{place.folder}/start"], 1234, programs=[SLEEP])
    (_, start, *_) = begun(program)
    (action,) = start.actions({})
    assert "exec sh /var/lib/tutorial-one-run/start" in str(action.do)


@pytest.mark.parametrize(("programs", "refused"), [([], True), ([SLEEP], False)])
def test_a_program_that_no_package_brings_is_missed_before_anything_is_changed(
    programs: list[Need], refused: bool
) -> None:
    """Where one does, what the host lacks is told, or installed."""
    program = Program("one", ["sleep"], 1234, programs=programs)
    facts = Facts(uid=60600, program="", listening=(), there=None)
    site = Site("", "X1", Addresses("10.0.0.1", "", "10.0.0.1", ""), {}, {}, name="one")
    assert [str(error) for error in program.refuse(facts, site)] == [
        "host X1 has no program sleep: install it, or add its package to programs of service one"
    ] * refused


def test_all_that_asks_for_a_secret_s_file_gets_one() -> None:
    def ask(result: Callable[[str], Any]) -> Callable[[Place], Any]:
        return lambda place: result(place.secret("one"))

    for parameters in (
        {"command": ask(lambda path: ["sleep", path]), "programs": [SLEEP]},
        {"env": ask(lambda path: {"FILE": path})},
        {"files": ask(lambda path: {"settings": path})},
        {"ready": ask(lambda path: ["cat", path])},
    ):
        program = Program(**{"name": "one", "command": ["sleep"], "port": 1234, **parameters})  # type: ignore[arg-type]
        facts = Facts(uid=60600, program="/usr/bin/sleep", listening=(), there=None)
        site = Site("run", "X1", Addresses("10.0.0.1", "", "10.0.0.1", ""), {}, {}, name="one")
        running = program.result(Mock(), facts, site, {})
        assert running.secrets == {"one": "/var/lib/tutorial-one-run/one-password"}
