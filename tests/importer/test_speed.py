"""Import is linear in the model: thousands of nodes of shape arithmetic take well under three seconds."""

from time import process_time

import numpy as np

from attnc.compiler.importer import import_model
from attnc.dialects.provenance import folded_nodes, module_nodes


def test_thousands_of_nodes(build) -> None:
    nodes, last = [], "x"
    for index in range(600):
        nodes += [
            build.node("Shape", [last], [f"s{index}"]),
            build.node("Gather", [f"s{index}", "zero"], [f"g{index}"], axis=0),
            build.node("Unsqueeze", [f"g{index}", "axes"], [f"u{index}"]),
            build.node("Concat", [f"u{index}", "rest"], [f"c{index}"], axis=0),
            build.node("Reshape", [last, f"c{index}"], [f"r{index}"]),
            build.node("Unsqueeze", [f"r{index}", "axes"], [f"e{index}"]),
            build.node("Squeeze", [f"e{index}", "axes"], [f"y{index}"]),
        ]
        last = f"y{index}"
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    model = build.model(nodes, [build.value("x", 4, 5)], [last], constants)
    start = process_time()
    module = import_model(model)
    assert process_time() - start < 3
    assert len(module_nodes(module)) == 1800
    assert len(folded_nodes(module)) == 2400
