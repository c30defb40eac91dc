"""Edits of files that are not ours: the lines that were to change, and the way back, whatever happened in between."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from circuit_harness.operations.edits import Append, Edit, NewFile, ReplaceLine, apply, proof, restore

TEXT = b"[mysqld]\nport = 1\n# caf\xe9 'quoted' \\ back\nbind-address = 127.0.0.1\n\n[client]\n"


def sh(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=20)


class File:
    """A file of somebody else, and a folder for backups."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.path = folder / "my file.cnf"
        self.path.write_bytes(content)
        self.path.chmod(0o640)
        os.utime(self.path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
        self.backups = str(folder / "backups")
        Path(self.backups).mkdir()
        self.before = self.state()

    def state(self) -> tuple[bytes, int, int, int, int]:
        stat = self.path.stat()
        return self.path.read_bytes(), stat.st_mode, stat.st_mtime_ns, stat.st_uid, stat.st_gid

    def edit(self, line: int, text: str) -> Edit:
        return ReplaceLine(str(self.path), text, line)

    def apply(self, *edits: Edit) -> None:
        done = sh(f"set -e; {apply(edits, self.backups)}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def restore(self, *edits: Edit, force: str = "") -> tuple[bool, str]:
        """Whether all was put back, and what was said."""
        done = sh(f'force={force}; {restore(edits, self.backups)}; [ -z "$kept" ] && rm -rf {self.backups}')
        return done.returncode == 0, done.stderr

    def complaints(self, *edits: Edit) -> str:
        return sh(proof(edits, self.backups)).stdout


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path, TEXT)


def test_lines_change_and_come_back(file: File) -> None:
    edits = file.edit(4, "bind-address = 10.0.0.7\nport = 3307 # it's"), file.edit(2, "port = 2")
    file.apply(*edits)
    expected = TEXT.replace(b"port = 1", b"port = 2").replace(b"127.0.0.1", b"10.0.0.7\nport = 3307 # it's")
    assert file.path.read_bytes() == expected
    assert file.complaints(*edits) == f"{file.path} is not as it was\n"
    for _ in range(2):
        assert file.restore(*edits) == (True, "")
        assert file.state() == file.before
    assert file.complaints(*edits) == ""


@pytest.mark.parametrize("content", [b"", b"[client]", b"[client]\n"])
def test_lines_come_to_the_end(tmp_path: Path, content: bytes) -> None:
    file = File(tmp_path, content)
    edit = Append(str(file.path), "[mysqld]\nbind-address = ::1")
    file.apply(edit)
    assert file.path.read_bytes().split(b"\n")[-3:] == [b"[mysqld]", b"bind-address = ::1", b""]
    assert file.path.read_bytes().startswith(content)
    assert file.restore(edit) == (True, "")
    assert file.state() == file.before


def test_a_new_file_comes_and_goes(file: File) -> None:
    new = file.path.with_name("zz.cnf")
    edit = NewFile(str(new), "[mysqld]\nbind-address = ::1")
    file.apply(edit)
    assert new.read_text() == "[mysqld]\nbind-address = ::1\n"
    assert new.stat().st_mode & 0o777 == 0o644
    assert file.complaints(edit) == f"{new} is not as it was\n"
    for _ in range(2):
        assert file.restore(edit) == (True, "")
        assert not new.exists()
    assert file.complaints(edit) == ""


def test_a_file_that_came_to_be_meanwhile_is_left(file: File) -> None:
    edit = NewFile(str(file.path), "ours")
    done = sh(f"set -e; {apply([edit], file.backups)}")
    assert (done.returncode, done.stderr) == (1, f"{file.path} has come to be meanwhile\n")
    assert file.restore(edit) == (True, "")
    assert file.state() == file.before


def test_nothing_was_done_yet(file: File) -> None:
    edits = file.edit(2, "port = 2"), NewFile(str(file.path.with_name("zz.cnf")), "ours")
    assert file.restore(*edits) == (True, "")
    assert file.state() == file.before


def test_what_somebody_else_changed_since_is_left_unless_forced(file: File) -> None:
    edit = file.edit(2, "port = 2")
    file.apply(edit)
    with file.path.open("a") as text:
        text.write("# mine\n")
    done, said = file.restore(edit)
    assert not done
    assert f"{file.path} was changed since by somebody else, and is left as it is: the saved one is" in said
    assert file.path.read_text(errors="replace").endswith("# mine\n")
    assert file.complaints(edit) != ""
    assert file.restore(edit, force="yes") == (True, "")
    assert file.state() == file.before


def test_what_was_put_back_is_not_touched_again(file: File) -> None:
    """By an undoing that has to be repeated for something else."""
    other = file.path.with_name("other.cnf")
    other.write_text("port = 1\n")
    edits = file.edit(2, "port = 2"), ReplaceLine(str(other), "port = 2", 1)
    file.apply(*edits)
    other.write_text("port = 3\n")
    assert not file.restore(*edits)[0]
    assert file.complaints(*edits) == f"{other} is not as it was\n"
    file.path.write_text("theirs\n")
    assert file.restore(*edits, force="yes") == (True, "")
    assert (file.path.read_text(), other.read_text()) == ("theirs\n", "port = 1\n")


def test_a_new_file_that_somebody_else_changed_since_is_left_unless_forced(file: File) -> None:
    new = file.path.with_name("zz.cnf")
    edit = NewFile(str(new), "ours")
    file.apply(edit)
    new.write_text("theirs\n")
    done, said = file.restore(edit)
    assert not done
    assert f"{new}, a file of this deployment, was changed since by somebody else" in said
    assert new.read_text() == "theirs\n"
    assert file.restore(edit, force="yes") == (True, "")
    assert not new.exists()


@pytest.mark.parametrize("size", [len(TEXT), 100_000])
def test_other_names_of_a_file_stay_its_own(tmp_path: Path, size: int) -> None:
    file = File(tmp_path, TEXT.ljust(size, b"#"))
    other = tmp_path / "other name.cnf"
    os.link(file.path, other)
    edit = file.edit(2, "port = 2")
    for change in (file.apply, file.restore):
        change(edit)
        assert other.samefile(file.path)
        assert (b"port = 2\n" in other.read_bytes()) == (change == file.apply)
    assert file.state() == file.before


def test_a_link_to_a_file_stays_one(file: File) -> None:
    link = file.path.with_name("my link.cnf")
    link.symlink_to(file.path.name)
    edit = ReplaceLine(str(link), "port = 2", 2)
    for change in (file.apply, file.restore):
        change(edit)
        assert link.is_symlink()
        assert (b"port = 2\n" in file.path.read_bytes()) == (change == file.apply)
    assert file.state() == file.before


@pytest.mark.parametrize("links", [1, 2])
def test_a_file_stays_whole_where_the_way_back_has_no_room(tmp_path: Path, links: int) -> None:
    file = File(tmp_path, TEXT + b"# more\n" * 10_000)
    if links > 1:
        os.link(file.path, tmp_path / "other name.cnf")
    edit = file.edit(2, "port = 2")
    file.apply(edit)
    edited = file.path.read_bytes()
    # A write that passes 8 KiB fails, as on a full disk.
    full = sh(f"trap '' XFSZ; ulimit -f 16; force=; {restore([edit], file.backups)}; echo \"kept $kept\"")
    assert full.stdout == "kept yes\n"
    assert f"{file.path} could not be put back" in full.stderr
    assert file.path.read_bytes() == edited
    assert sorted(path.name for path in tmp_path.iterdir() if "name" not in path.name) == ["backups", "my file.cnf"]
    assert file.restore(edit) == (True, "")
    assert file.state() == file.before


def test_places_in_words() -> None:
    edits = ReplaceLine("/a", "", 3), Append("/a", ""), NewFile("/a", "")
    assert [str(edit) for edit in edits] == ["line 3 of /a", "the end of /a", "a new file /a"]
