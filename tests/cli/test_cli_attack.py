"""``unmask attack``: every attack of the registry, and their settings."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from command_line import FEW, assert_refused, unmask

from onnx_files import onnx_file
from unmask.attacks import ATTACKS, PGD
from unmask.cli.attacks import make_attack
from unmask.losses import cross_entropy, margin


@pytest.mark.parametrize("name", [*ATTACKS, "pgd-margin"])
def test_every_attack_of_the_registry_runs_under_its_name(name):
    kind, brief = ATTACKS[name.removesuffix("-margin")], []
    for setting in ("steps", "queries"):
        brief += [f"--{setting}", 2] * (setting in {one.name for one in fields(kind)})
    result = unmask("attack", "own:fixed", *FEW, "--attack", name, *brief, "--epsilon", "1/255")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("epsilon 0.003922: accuracy ")


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_makes_the_attack_of_its_class(name):
    """With the defaults of the class, the run's seed, and for an attack with a norm that of the bound."""
    made = make_attack("attack", name, 0.1, seed=7)
    expected = ATTACKS[name](0.1)
    own = {"seed": 7} if "seed" in expected.settings else {}
    own |= {"norm": math.inf} if "norm" in expected.settings else {}
    assert made == expected.replace(**own)


@pytest.mark.parametrize("name", ["cw", "fgsm-square", "frsm-margin", ""])
def test_an_unknown_attack_is_refused(name):
    """It used to run PGD."""
    result = unmask("attack", "own:fixed", *FEW, "--attack", name)
    assert_refused(result, "Invalid value for '--attack': expected one of fgsm, rfgsm, rs-fgsm, frsm, ifgsm, mi-fgsm, ")
    with pytest.raises(ValueError, match="attack: expected one of fgsm, "):
        make_attack("attack", name, 0.1, seed=0)


def test_the_loss_of_a_name_is_the_papers():
    """Until one is given."""
    run = ["attack", "own:fixed", *FEW, "--attack"]
    assert make_attack("attack", "fgsm", 0.1, seed=0).loss is cross_entropy
    assert make_attack("attack", "fgsm", 0.1, seed=0, settings={"loss": "margin"}).loss is margin
    assert unmask(*run, "fgsm-dlr").output == unmask(*run, "fgsm", "--loss", "dlr").output
    assert_refused(unmask(*run, "fgsm", "--loss", "hinge"), "'--loss': expected one of cross-entropy, log-odds, margin")
    assert_refused(unmask(*run, "fgsm-dlr", "--loss", "dlr"), "expected no setting 'loss' beside the one in the name")


def test_every_setting_can_be_given():
    made = make_attack("attack", "pgd", 0.1, seed=0, changed=["step_size=1/50", "start=clean", "steps=3"])
    assert made == PGD(0.1, steps=3, step_size=0.02, start="clean")
    result = unmask("attack", "own:fixed", *FEW, "--attack", "mi-fgsm", "--set", "stairs=3")
    assert_refused(result, "--set: expected NAME=VALUE with one of steps, decay, got stairs=3")


def test_an_option_that_means_nothing_is_refused():
    result = unmask("attack", "own:fixed", *FEW, "--attack", "fgsm", "--steps", 2, "--epsilon", "0.1")
    assert_refused(
        result, "--steps: expected none, since fgsm has no such setting; it is for ifgsm, mi-fgsm, pgd, apgd, "
    )


@pytest.mark.slow
def test_a_file_of_onnx_is_a_model(linear, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = onnx_file(tmp_path / "linear.onnx", linear)
    result = unmask("attack", path, *FEW, "--attack", "frsm")
    assert result.exit_code == 0
    assert_refused(unmask("audit", tmp_path / "none.onnx", *FEW), "none.onnx: no such file")


def test_attacks_of_ones_own_are_named_as_networks_are():
    result = unmask("attack", "own:fixed", *FEW, "--attack", "own:step")
    assert result.output == unmask("attack", "own:fixed", *FEW, "--attack", "fgsm").output
    result = unmask("audit", "own:fixed", *FEW, "--quick", "--reference", "own:careless")
    assert result.exit_code == 0
    assert "lambda" in result.output
    assert_refused(
        unmask("attack", "own:fixed", *FEW, "--attack", "own:inverted"),
        "inverted: expected images in [0, 1]",
    )
    assert_refused(
        unmask("attack", "own:fixed", *FEW, "--attack", "own:step", "--steps", 2),
        "--steps: expected none, since own:step makes an attack with settings of its own",
    )
