"""Without Go the manifests are not checked, which nobody overlooks."""

from pathlib import Path

import pytest

from tests.support.k8s import tools


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_go_nothing_is_checked_and_ci_fails(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *,
    ci: str,
    code: int,
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(tools, "FOLDER", tmp_path / "k8s")
    monkeypatch.setattr(tools, "find_go", lambda: None)
    with pytest.raises(SystemExit) as left:
        tools.main()
    assert int(left.value.code or 0) == code
    assert "NOT checked" in capsys.readouterr().err
    with pytest.raises(pytest.fail.Exception if ci else pytest.skip.Exception, match="left out"):
        tools.require_tools()


def test_another_version_is_installed_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools, "FOLDER", tmp_path)
    (tmp_path / "versions").write_text(tools.versions())
    tools.main()  # nothing to do
    monkeypatch.setattr(tools, "KUSTOMIZE_MODULE", "another")
    monkeypatch.setattr(tools, "find_go", lambda: None)
    with pytest.raises(SystemExit):
        tools.main()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="old"):
        tools.require_tools()
