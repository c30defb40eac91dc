"""How long the report of very many checks takes: to be made, and to be opened by a browser.

The browser starts anew for each page. Its time is from asking a server on this machine for the page until the page is
laid out, 1280 pixels wide; starting the browser is not part of it.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from circuit_harness.report.page import render
from tests.browser import BROWSERS, Pages, find_browser
from tests.documents import large

SIZES = ((31, 2), (1000, 0), (1000, 50), (1000, 500))
"""Checks, and how many of these failed."""

RUNS = 5

_OPEN = """<!DOCTYPE html><meta charset="utf-8"><title>opening</title><pre></pre><script>
const frame = document.createElement("iframe"), start = performance.now();
frame.style = "width: 1280px; height: 900px";
frame.onload = () => {
  frame.contentDocument.documentElement.getBoundingClientRect();
  document.querySelector("pre").textContent = performance.now() - start;
};
frame.src = "page.html";
document.body.append(frame);
</script>"""


def main() -> None:
    """Measure and print."""
    browser = find_browser()
    if browser is None:
        sys.exit(f"there is none of {', '.join(BROWSERS)}: install one")
    opened = {size: _measure(browser, *size) for size in SIZES}
    small, *_, largest = opened.values()
    print(f"ratio {largest / small:.1f}")


def _measure(browser: str, checks: int, failures: int) -> float:
    document = large(checks, failures)
    making, opening = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "open.html").write_text(_OPEN, encoding="utf-8")
        pages = Pages(folder, browser)
        try:
            for _ in range(RUNS):
                start = time.monotonic()
                page = render(document)
                making.append(time.monotonic() - start)
                (folder / "page.html").write_text(page, encoding="utf-8")
                (opened,) = re.findall(r"<pre>([\d.]+)</pre>", pages.run("open.html", "--dump-dom"))
                opening.append(float(opened) / 1000)
        finally:
            pages.close()
    made, shown = statistics.median(making), statistics.median(opening)
    print(
        f"{checks:5,} checks, {failures:3} failed, {len(page) // 1024:5,} KiB: made in {made:.2f} s, opened in"
        f" {shown:.2f} s ({min(opening):.2f} to {max(opening):.2f} s in {RUNS} runs)",
        flush=True,
    )
    return shown


if __name__ == "__main__":
    main()
