"""Changes of an exported graph: one answer, with a name, as a share for each class."""

from __future__ import annotations

from typing import Any

from tidegauge.export.needs import need


def keep_output(model: Any, name: str, called: str = "") -> Any:
    """Drop every output but one, with what only they need, and call that ``called``; return the model."""
    graph = model.graph
    (kept,) = [output for output in graph.output if output.name == name]
    for output in list(graph.output):
        if output.name != name:
            graph.output.remove(output)
    needed, nodes = {name}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input) | _within(node)
    kept_nodes = list(reversed(nodes))
    del graph.node[:]
    graph.node.extend(kept_nodes)
    if called and called != name:
        for node in graph.node:
            node.output[:] = [called if output == name else output for output in node.output]
            node.input[:] = [called if taken == name else taken for taken in node.input]
        kept.name = called
    return model


def as_shares(model: Any, width: int, *, activated: bool = False) -> Any:
    """Turn the scores ``[n, width]`` of the only output into a share for each class; return the model.

    Of one score two are made: what it says of the second class, and what is left to 1. ``activated``: the
    scores went through a sigmoid already.
    """
    helper = need("onnx.helper", "Turning scores into shares")
    graph = model.graph
    (output,) = graph.output
    scores = f"{output.name}_scores"
    for node in graph.node:
        node.output[:] = [scores if name == output.name else name for name in node.output]
        node.input[:] = [scores if name == output.name else name for name in node.input]
    if width > 1:
        graph.node.append(helper.make_node("Softmax", [scores], [output.name], axis=-1))
        return model
    kind = output.type.tensor_type.elem_type
    graph.initializer.append(helper.make_tensor("tidegauge_one", kind, [1], [1.0]))
    share = scores if activated else "tidegauge_share"
    if not activated:
        graph.node.append(helper.make_node("Sigmoid", [scores], [share]))
    graph.node.append(helper.make_node("Sub", ["tidegauge_one", share], ["tidegauge_rest"]))
    graph.node.append(helper.make_node("Concat", ["tidegauge_rest", share], [output.name], axis=1))
    output.type.tensor_type.shape.dim[-1].dim_value = 2
    return model


def _within(node: Any) -> set[str]:
    """Return what the branches of a node take from outside."""
    return {
        name
        for attribute in node.attribute
        for graph in (attribute.g, *attribute.graphs)
        for inner in graph.node
        for name in (*inner.input, *_within(inner))
    }
