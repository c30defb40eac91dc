"""A browser without a window, and a server of what it opens."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
"""The names of browsers that have the options used here."""


def find_browser() -> str | None:
    """Return the first of :data:`BROWSERS` that starts; None where none does."""
    for name in filter(shutil.which, BROWSERS):
        # Ubuntu's packages are stubs, which are there but do not start.
        if subprocess.run([name, "--version"], capture_output=True, timeout=60).returncode == 0:
            return name
    return None


class Pages:
    """Serves a page to a browser, and remembers what that asked for."""

    def __init__(self, folder: Path, browser: str) -> None:
        self.asked: list[str] = []
        self.folder = folder
        self._browser = browser
        pages = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, directory=str(folder), **kwargs)

            def log_message(self, format: str, *args: Any) -> None:
                pages.asked.append(self.path)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def run(self, path: str, *options: str) -> str:
        """Open a page in the browser; return what it prints."""
        # Root's browser cannot have a sandbox. All of the page is ours.
        common = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
        profile = f"--user-data-dir={self.folder / 'profile'}"
        address = f"http://127.0.0.1:{self._server.server_port}/{path}"
        command = [self._browser, *common, profile, *options, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout
