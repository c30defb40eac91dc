"""Kill what runs as a user; see kill_all.pl, which does the same."""

import contextlib
import os
import re
import sys
from pathlib import Path

os.setresuid(int(sys.argv[1]), int(sys.argv[2]), 0)
own = Path("/proc/self/status").read_text()
as_told = r"(?m)^Uid:\t{}\t{}\t".format(*sys.argv[1:])
if "0" in sys.argv[1:] or not re.search(as_told, own) or not re.search(r"(?m)^CapEff:\t0+$", own):
    sys.exit(1)
with contextlib.suppress(ProcessLookupError):
    os.kill(-1, 9)
