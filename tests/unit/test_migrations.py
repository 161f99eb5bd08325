"""The migrations of each service are one line: Alembic refuses to start with two last ones."""

import ast
from collections import Counter
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"


def assigned(path: Path) -> dict[str, object]:
    """The names that a module assigns constants to, alone or several at once."""
    found: dict[str, object] = {}
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = value.elts if isinstance(value, ast.Tuple) else [value]
            pairs = zip(names, values, strict=len(names) == len(values))
            found |= {ast.unparse(n): v.value for n, v in pairs if isinstance(v, ast.Constant)}
    return found


@pytest.mark.parametrize("service", ["ingest", "shield", "router", "delivery", "events"])
def test_the_migrations_of_a_service_are_one_line(service: str) -> None:
    paths = (SERVICES / service / "migrations" / "versions").glob("0*.py")
    steps = [assigned(path) for path in paths]
    revisions = Counter(step["revision"] for step in steps)
    before = Counter(step["down_revision"] for step in steps)
    assert max(revisions.values()) == max(before.values()) == 1
    assert len(revisions.keys() - before.keys()) == 1
