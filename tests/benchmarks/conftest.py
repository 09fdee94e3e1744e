"""The benchmarks' own arithmetic; what they measure is not tested."""

import sys
from pathlib import Path

# They are scripts that import one another by name.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
