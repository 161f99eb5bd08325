"""`obm blocklists lint`, with the file that docs/blocklists.md shows."""

from pathlib import Path

import pytest

from cli.blocklists import lint
from kernel.errors import ConfigError
from mail.blocklists import parse_blocklists, select, shipped
from tests.support.pages import ROOT, read_blocks

BLOCKS = read_blocks(ROOT / "docs" / "blocklists.md")
[SHOWN] = [one.text for one in BLOCKS if one.comment == "file: blocklists.toml"]


def test_the_file_of_the_documentation_is_right_and_enables_its_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "blocklists.toml"
    file.write_text(SHOWN)
    lint(file)
    printed = capsys.readouterr().out
    assert "acme: Ours." in printed
    assert "spamhaus-zen: Without a key only for non-commercial use" in printed
    assert [one.name for one in select(parse_blocklists(shipped(), SHOWN))] == ["spamcop", "acme"]


def test_all_that_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "blocklists.toml"
    file.write_text(SHOWN.replace('"127.0.0.3"', '"192.0.2.3"').replace("bl.acme", "BL acme"))
    with pytest.raises(ConfigError) as refused:
        lint(file)
    for text in ("blocklists.toml", "'BL acme.example' is not", "192.0.2.3: a listing is"):
        assert text in str(refused.value)
