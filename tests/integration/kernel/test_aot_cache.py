"""The ahead-of-time cache of the broker's classes: used if it works, ignored silently if not."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel.embedded.aot_cache import is_usable, make_aot_cache
from kernel.embedded.jars import classpath
from kernel.embedded.java import aot_cache, java_command, use_aot_cache


@pytest.fixture(scope="module")
def cache() -> Path:
    make_aot_cache()  # a second at most where `make` has made it
    return aot_cache()


def start_with(cache: Path, jars: str) -> str:
    command = java_command(jars, *use_aot_cache(cache), "-version")
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


def without_end(cache: bytes) -> bytes:
    return cache[: len(cache) // 2]


def with_a_changed_byte(cache: bytes) -> bytes:
    half = len(cache) // 2
    return cache[:half] + bytes([cache[half] ^ 1]) + cache[half + 1 :]


def of_something_else(cache: bytes) -> bytes:
    return b"\n" * len(cache)


def test_the_cache_works_and_is_made_once(cache: Path) -> None:
    assert is_usable(cache)
    made = cache.stat()
    make_aot_cache()
    assert cache.stat() == made


@pytest.mark.parametrize("damage", [without_end, with_a_changed_byte, of_something_else])
def test_a_damaged_cache_is_ignored_silently(
    cache: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    damaged = tmp_path / "damaged.aot"
    damaged.write_bytes(damage(cache.read_bytes()))
    assert not is_usable(damaged)
    assert start_with(damaged, classpath()) == start_with(tmp_path / "missing.aot", classpath())


def test_the_cache_of_other_jars_is_ignored_silently(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jar").write_bytes(b"")
    lines = start_with(cache, str(tmp_path / "other.jar")).splitlines()
    assert len(lines) == 3
    assert "sharing" not in lines[-1]
