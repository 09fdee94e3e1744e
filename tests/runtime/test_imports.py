"""The simulator needs neither the compiler nor what the compiler needs."""

import subprocess
import sys

BLOCKED = """
import sys
for name in ("xdsl", "onnx", "onnxruntime", "lark", "attnc.compiler", "attnc.dialects", "attnc.passes"):
    sys.modules[name] = None
import attnc.runtime.session, attnc.runtime.stepper, attnc.runtime.summary, attnc.runtime.instruction_log
import os
assert os.environ["OPENBLAS_NUM_THREADS"]
print("ok")
"""


def test_the_simulator_imports_without_xdsl_onnx_and_the_compiler():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr
