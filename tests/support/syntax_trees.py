"""The syntax trees of source files, for rules about the code."""

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

Node = TypeVar("Node", bound=ast.AST)
LEAVES = (ast.Constant, ast.Name, ast.alias)  # more than half of all nodes; no node is below


def nodes(path: Path, kind: type[Node]) -> Sequence[Node]:
    """Those of this class in the file's syntax tree."""
    return nodes_by_class(path).get(kind, ())


@cache
def nodes_by_class(path: Path) -> Mapping[type, Sequence[Any]]:
    """All but contexts and operators. A walk takes as long as parsing, so there is one for all."""
    found = defaultdict[type, list[ast.AST]](list)
    rest: list[ast.AST] = [ast.parse(path.read_text())]
    while rest:
        node = rest.pop()
        found[type(node)].append(node)
        for value in vars(node).values() if type(node) not in LEAVES else ():
            if isinstance(value, list):
                rest += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                rest.append(value)
    return found
