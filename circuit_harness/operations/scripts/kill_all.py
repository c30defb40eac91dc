"""Kill what runs as a user; see kill_all.pl, which does the same."""

import os
import re
import sys
from pathlib import Path

os.setresuid(int(sys.argv[1]), int(sys.argv[2]), 0)
own = Path("/proc/self/status").read_text()
as_told = r"(?m)^Uid:\t{}\t{}\t".format(*sys.argv[1:])
if "0" not in sys.argv[1:] and re.search(as_told, own) and re.search(r"(?m)^CapEff:\t0+$", own):
    os.kill(-1, 9)
