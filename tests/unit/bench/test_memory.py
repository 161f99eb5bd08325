"""Memory by process, from /proc."""

import os
import sys

from bench import memory


def test_a_process_of_this_machine_has_some() -> None:
    held = memory.tree_mb(os.getpid())
    assert 5 < held < 10_000
    assert memory.peak_mb(os.getpid()) > 5


def test_what_is_gone_has_none() -> None:
    assert memory.tree_mb(sys.maxsize) == 0
    assert memory.peak_mb(sys.maxsize) == 0


def test_a_line_of_kilobytes_is_read() -> None:
    assert memory.kilobytes("Rss: 12 kB\nPss:    2048 kB\n", "Pss") == 2048
    assert memory.kilobytes("", "Pss") == 0
