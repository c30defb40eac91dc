"""The results of a run as one document, ``run.json``, from which pages and text files are made."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from errno import EEXIST
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from circuit_harness.engine.evidence import Piece
from circuit_harness.steps import Step

FORMAT = 1
"""The version of the document, which ``run.schema.json`` describes."""

EVIDENCE = "evidence: "
"""The prefix of the titles of a report's sections with evidence."""

ELSEWHERE = "evidence is not collected again: "
"""The prefix of the titles of a report's sections that name the check whose failure has the evidence."""

NOTE = "note"
"""The title of a report's section with a note about the run."""

_DOCUMENT = "run.json"
_OURS = re.compile(r"(logs|failures/[0-9]{2,}-[A-Za-z0-9.-]*)/[0-9]{2,}-[A-Za-z0-9.-]*\.txt")
"""The names of the files that are written beside it."""

_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""The errors that show that a file of an earlier run no longer exists."""

_OUTCOMES: Mapping[int, str] = {
    pytest.ExitCode.OK: "passed",
    pytest.ExitCode.TESTS_FAILED: "failed",
    pytest.ExitCode.INTERRUPTED: "interrupted",
}


@dataclass
class Result:
    """The result of one check. ``start`` is in seconds since the run began; ``reason`` is one line of ``text``.

    ``line`` is where the check failed in its file; the check's first line where that is not known. ``elsewhere`` are
    the checks whose failures have evidence of the services that this one uses.
    """

    check: str
    parts: list[str]
    file: str
    line: int
    outcome: str
    start: float
    seconds: float
    worker: str
    reason: str = ""
    text: str = ""
    evidence: list[Piece] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


class Results:
    """The results of the checks of a run, in the order in which they first reported."""

    def __init__(self, parts: Sequence[str], root: Path) -> None:
        """:param parts: the markers that assign a check to a part of a deployment.
        :param root: pytest's root folder, from which reports name the files of checks.
        """
        self._parts = parts
        self._root = root
        self._results: dict[str, Result] = {}
        self._ended: set[str] = set()
        self.notes: list[str] = []
        """Notes about the run, each once."""
        self._epoch: float | None = None

    def begin(self, now: float) -> None:
        """Set the start of the run; ``now`` is in seconds since the epoch, as in pytest's reports."""
        self._epoch = now

    def add(self, report: pytest.TestReport) -> None:
        """Add the report of one phase of a check: its set-up, call or tear-down."""
        result = self._results.get(report.nodeid)
        if result is None:
            file, line, _ = report.location
            result = Result(
                check=report.nodeid,
                file=file,
                line=(line or 0) + 1,
                parts=[part for part in self._parts if part in report.keywords],
                outcome="passed",
                start=report.start - (self._epoch or report.start),
                seconds=0.0,
                worker=getattr(report, "worker_id", "") if getattr(report, "node", None) else "",
            )
            self._results[report.nodeid] = result
        result.seconds += report.duration
        if report.when == "call" or not report.passed:
            self._ended.add(report.nodeid)
        for title, text in report.sections:
            if title == NOTE and text not in self.notes:
                self.notes.append(text)
        result.evidence += [
            Piece(title.removeprefix(EVIDENCE), text) for title, text in report.sections if title.startswith(EVIDENCE)
        ]
        result.elsewhere += [text for title, text in report.sections if title.startswith(ELSEWHERE)]
        # A failure in the tear-down of a failed check has the same cause, which the first failure shows.
        if report.passed or result.outcome in ("failed", "error"):
            return
        result.outcome = "skipped" if report.skipped else "failed" if report.when == "call" else "error"
        result.text = report.longreprtext
        result.reason = _reason(report)
        result.line = _line_within(self._root / result.file, report) or result.line

    def all(self) -> list[Result]:
        """Return the results so far. Like pytest, leave out a check that was cut off after its set-up."""
        return [result for check, result in self._results.items() if check in self._ended]


def compose(
    *,
    identity: Mapping[str, Any],
    seconds: float,
    mode: str,
    kept: bool,
    exit_status: int,
    circuit: Sequence[str],
    hosts: Sequence[Mapping[str, Any]],
    declared: Sequence[Mapping[str, Any]],
    services: Mapping[str, Mapping[str, Any]],
    steps: Sequence[Step],
    results: Sequence[Result],
    logs: Sequence[Piece],
    left: Sequence[str],
    notes: Sequence[str],
    commands: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Return the document, which has only plain values, and always all keys."""
    return {
        "format": FORMAT,
        **identity,
        "seconds": seconds,
        "mode": mode,
        "kept": kept,
        "exit_status": exit_status,
        "outcome": _OUTCOMES.get(exit_status, "error"),
        "circuit": list(circuit),
        "hosts": [dict(host) for host in hosts],
        "declared": [dict(service) for service in declared],
        "services": {part: dict(service) for part, service in services.items()},
        "steps": [asdict(step) for step in steps],
        "results": [asdict(result) for result in results],
        "logs": [asdict(piece) for piece in logs],
        "left": list(left),
        "notes": list(notes),
        "commands": [{"to": words, "command": command} for words, command in commands],
    }


def clear_artifacts(folder: Path) -> None:
    """Remove the files that an older run has written into a folder, so that nobody takes them for this run's. Other
    files stay.

    :raises OSError: a file cannot be removed, or ``run.json`` is not a run's document.
    """
    if not os.path.lexists(folder / _DOCUMENT):
        return
    files = _written(folder / _DOCUMENT)
    if files is None:
        raise FileExistsError(EEXIST, "it is not of a run of ours; name another folder", str(folder / _DOCUMENT))
    folders: set[tuple[str, ...]] = set()
    for file in files:
        *parents, name = PurePosixPath(file).parts
        folders |= {tuple(parents[:depth]) for depth in range(1, len(parents) + 1)}
        with suppress(*_GONE), _naming(folder / file), _opened(folder, parents) as descriptor:
            os.unlink(name, dir_fd=descriptor)
    for *above, name in sorted(folders, key=len, reverse=True):
        # A folder with other files stays.
        with suppress(OSError), _opened(folder, above) as descriptor:
            os.rmdir(name, dir_fd=descriptor)
    # Last, so that the next run still finds the list if this one is killed here.
    (folder / _DOCUMENT).unlink()


def _written(file: Path) -> list[str] | None:
    """Return the files that a run wrote beside its document; None where the document is not a run's."""
    try:
        document = json.loads(file.read_text("utf-8"))
        if not {"format", "run", "outcome", "results"} <= document.keys():
            return None
        # Older versions wrote no list, but used the same names.
        files = document["files"] if "files" in document else list(_texts(document))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(files, list) or not all(isinstance(file, str) and _OURS.fullmatch(file) for file in files):
        return None
    return files


def write_artifacts(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``run.json``, and its logs and evidence as separate files.

    ``run.json`` lists their names under ``files``. An existing file stays, and the new one gets another name.

    :raises OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {_free(folder, name): text for name, text in _texts(document).items()}
    # Complete or not at all, because the next run would not accept half a document as a run's. Before the files that it
    # lists, so that the next run also finds those of a run that was killed.
    new = f"{_DOCUMENT}.new"
    (folder / new).unlink(missing_ok=True)
    _write(folder, new, json.dumps({**document, "files": list(texts)}, indent=1))
    (folder / new).replace(folder / _DOCUMENT)
    for name, text in texts.items():
        _write(folder, name, text)


def _texts(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts to write beside a document, by the names of their files in its folder."""
    texts = _pieces("logs", document.get("logs", ()))
    failed = [result for result in document["results"] if result["outcome"] in ("failed", "error")]
    for number, result in enumerate(failed, 1):
        failure = {"title": "failure", "text": result["text"]}
        texts |= _pieces(f"failures/{_file_name(number, result['check'])}", [failure, *result["evidence"]])
    return texts


def _pieces(folder: str, pieces: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        f"{folder}/{_file_name(number, piece['title'])}.txt": piece["text"] for number, piece in enumerate(pieces, 1)
    }


def _free(folder: Path, name: str) -> str:
    """Return the name of a file, or a similar one where a file has that name."""
    free = name
    for number in itertools.count(2):
        if not os.path.lexists(folder / free):
            break
        free = f"{name.removesuffix('.txt')}.{number}.txt"
    return free


def _write(folder: Path, name: str, text: str) -> None:
    """Write a new file below a folder."""
    *parents, last = PurePosixPath(name).parts
    with _naming(folder / name), _opened(folder, parents, make=True) as descriptor:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(last, flags, 0o666, dir_fd=descriptor), "w", -1, "utf-8", "backslashreplace") as file:
            file.write(text + "\n")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the whole path into errors of the block."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def _opened(folder: Path, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Open a folder below another, and yield its descriptor. This follows no links, which could lead out of it.

    :param make: whether to make missing folders.
    :raises OSError: there is no such folder, or a link is in its place.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _file_name(number: int, title: str) -> str:
    """Return a unique name, which sorts by its number."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-.')[:100]}"


def _line_within(file: Path, report: pytest.TestReport) -> int | None:
    """Return the line of a file where a failure left it; None where the report does not name one."""
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ())
    places = [entry.reprfileloc for entry in entries if getattr(entry, "reprfileloc", None)]
    # Reports name the files of a traceback from the current folder on, and may go up with "..".
    lines = [place.lineno for place in places if Path(place.path).resolve() == file.resolve()]
    return lines[-1] if lines else None


def _reason(report: pytest.TestReport) -> str:
    """Return why a check did not pass, in one line."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        text = str(crash.message)
    else:
        # A masked report is only a text, in which pytest marks the error's lines. A worker's has a line in front of it.
        whole = report.longrepr if isinstance(report.longrepr, str) else report.longreprtext
        errors = [line[1:] for line in whole.splitlines() if line.startswith("E  ")]
        text = errors[0] if errors else whole
    return text.strip().partition("\n")[0].removeprefix("AssertionError: ")
