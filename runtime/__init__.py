"""The simulator: values, cycles, energy and checks of a program, from `isa` alone.

`session.load(path).run(inputs)` is the way in. Nothing here needs xdsl, onnx or the compiler.
"""

import os

# A tile's product on two threads of a shared host spins at a barrier for a thousand times its own duration;
# the variable counts only if it is set before numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
