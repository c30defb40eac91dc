"""Pack the files of a program for its folder on a host."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Mapping

from circuit import Hidden
from circuit_harness.secret import Secret


def pack(files: Mapping[str, str | Secret], secrets: Mapping[str, Secret], uid: int, folder: str) -> bytes | Hidden:
    """Return the files of a program as a tar. Only root can write them; everybody can read plain files, but only the
    program's user those with secrets.
    """
    contents: dict[str, str | Secret] = {name: text for name, text in files.items() if text != ""}
    contents |= {posixpath.relpath(path, folder): secret for path, secret in secrets.items()}
    if not contents:
        return b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, Secret):
                entry.mode, entry.uid, entry.gid = 0o400, uid, uid
                data = content.hidden().reveal()
            else:
                entry.mode, data = 0o644, content.encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return (
        Hidden(buffer.getvalue())
        if secrets or any(isinstance(one, Secret) for one in contents.values())
        else buffer.getvalue()
    )
