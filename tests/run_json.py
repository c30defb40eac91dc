"""Reads ``run.json`` as a program does that goes by its schema."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: dict[str, Any] = json.loads((files("circuit_harness.report") / "run.schema.json").read_text("utf-8"))
_VALIDATOR = Draft202012Validator(SCHEMA)


def problems(document: object) -> list[str]:
    """Return what the schema refuses in a document, a line each."""
    return [f"{error.json_path}: {error.message}" for error in _VALIDATOR.iter_errors(document)]


def read(folder: Path) -> dict[str, Any]:
    """Return the document that a run wrote into a folder, which must be valid."""
    document: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    assert problems(document) == []
    return document
