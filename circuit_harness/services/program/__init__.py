"""Any program, from a Debian package or its own files, in a sandbox."""

from circuit_harness.services.program.declared import Facts, Program
from circuit_harness.services.program.place import Place, Words
from circuit_harness.services.program.running import RunningProgram

__all__ = ["Facts", "Place", "Program", "RunningProgram", "Words"]
