"""Memory of processes, from /proc."""

import os
import sys

from bench import memory


def test_a_running_process_has_memory() -> None:
    held = memory.tree_mb(os.getpid())
    assert 5 < held < 10_000
    assert memory.peak_mb(os.getpid()) > 5


def test_an_exited_process_has_no_memory() -> None:
    assert memory.tree_mb(sys.maxsize) == 0
    assert memory.peak_mb(sys.maxsize) == 0


def test_a_line_in_kilobytes_is_parsed() -> None:
    assert memory.kilobytes("Rss: 12 kB\nPss:    2048 kB\n", "Pss") == 2048
    assert memory.kilobytes("", "Pss") == 0
