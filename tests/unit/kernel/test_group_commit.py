import asyncio
from collections.abc import Sequence

import pytest

from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit


class Committer:
    """Doubles numbers; fails on 13; is unavailable for 99."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    async def commit(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        await asyncio.sleep(0)
        if 13 in items:
            raise ValueError("13")
        if 99 in items:
            raise Unavailable("postgresql")
        return [2 * item for item in items]


async def submit_all(
    group: GroupCommit[int, int], items: Sequence[int]
) -> list[int | BaseException]:
    tasks = [asyncio.create_task(group.submit(item, size=item)) for item in items]
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_items_that_arrive_during_a_commit_form_the_next_group() -> None:
    committer = Committer()
    group = GroupCommit(committer.commit)
    first = asyncio.create_task(group.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(group.submit(n)) for n in (2, 3)]
    assert [await first, *await asyncio.gather(*rest)] == [2, 4, 6]
    assert committer.groups == [[1], [2, 3]]


def test_only_the_faulty_item_of_a_group_gets_the_error() -> None:
    committer = Committer()

    results = asyncio.run(submit_all(GroupCommit(committer.commit), [1, 13, 3]))

    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ValueError)
    assert committer.groups == [[1, 13, 3], [1], [13], [3]]


def test_when_infrastructure_is_unavailable_all_items_of_a_group_get_the_error() -> None:
    committer = Committer()

    results = asyncio.run(submit_all(GroupCommit(committer.commit), [1, 99]))

    assert all(isinstance(result, Unavailable) for result in results)
    assert committer.groups == [[1, 99]]


@pytest.mark.parametrize(
    ("limits", "groups"),
    [
        ({"items_max": 2}, [[5, 6], [7, 8], [9]]),
        ({"bytes_max": 13}, [[5, 6], [7], [8], [9]]),
        ({"alone_bytes": 7}, [[5, 6, 7], [8], [9]]),
    ],
)
def test_groups_are_bounded_and_a_large_item_is_committed_alone(
    limits: dict[str, int], groups: list[list[int]]
) -> None:
    committer = Committer()

    asyncio.run(submit_all(GroupCommit(committer.commit, **limits), [5, 6, 7, 8, 9]))

    assert committer.groups == groups


async def test_wait_idle_returns_when_everything_is_committed() -> None:
    committer = Committer()
    group = GroupCommit(committer.commit)
    task = asyncio.create_task(group.submit(1))
    await asyncio.sleep(0)
    await group.wait_idle()
    assert task.done() or await task == 2


async def test_groups_linger_under_load() -> None:
    committer = Committer()
    group = GroupCommit(committer.commit, items_max=3, linger_s=0.05)
    await group.submit(0)
    tasks = []
    for number in (1, 2):
        tasks.append(asyncio.create_task(group.submit(number)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await submit_all(group, [3, 4, 5, 6])
    assert committer.groups == [[0], [1, 2], [3, 4, 5], [6]]
