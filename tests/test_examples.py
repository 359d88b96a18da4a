"""The examples run, and print what they are there to show."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "audit_a_black_box": r"inconclusive: robust accuracy at most 0\.\d\d\nnot run: .*randomness.*\n",
    "audit_a_model": r"masked: float32 saturation\nclaimed 0\.\d\d, robust 0\.\d\d\n",
    "audit_with_your_own_attack": r"masked: .*your attack beats gradients.*\n",
    "compare_two_audits": r"clean accuracy .*\nclaimed accuracy .*\nrobust accuracy rose from .*\n",
    "transfer_from_an_undefended_model": r"direct: .*\ntransferred: .*\nmasked: .*transfer beats gradients.*\n",
    "watch_training": r"update \d+: .*\nwent back to update \d+\n",
}


def test_every_example_is_known() -> None:
    """Each script is run below, and each is listed beside the scripts."""
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == set(PRINTED)
    assert set(re.findall(r"\((\w+)\.py\)", (EXAMPLES / "README.md").read_text())) == scripts


@pytest.mark.parametrize("name", PRINTED)
def test_example_prints(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each script prints the lines that it is about."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert re.fullmatch(PRINTED[name], capsys.readouterr().out)
