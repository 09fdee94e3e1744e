"""Runs a command and prints, as JSON, its exit status, wall and CPU seconds, and peak resident memory in bytes.

    python benchmarks/process.py COMMAND...

It stands between a benchmark and what is measured since Linux counts the memory of whoever starts a process as a part
of that process's peak: this one is small.
"""

import json
import os
import subprocess
import sys
import time

begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
figures = {
    "status": os.waitstatus_to_exitcode(status),
    "wall_seconds": time.perf_counter() - begin,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_bytes": usage.ru_maxrss * 1024,
}
print(json.dumps(figures))
