"""Bad input ends in one plain line and exit code 2."""

from __future__ import annotations

import sys

import pytest
from command_line import BOUND, DATA, FEW, assert_refused, unmask

from unmask.cli.loading import make

BAD = {
    "data": (
        ["own:fixed", "--data", "cats", *BOUND],
        "cats: unknown data set; expected one of digits, mnist,",
    ),
    "data file": (["own:fixed", "--data", "cats.npz", *BOUND], "cats.npz: no such file"),
    "no data": (["own:fixed", *BOUND], "Missing option '--data'"),
    "epsilon 8": (
        ["own:fixed", *DATA, "--epsilon", "8"],
        "'--epsilon': expected a number in [0, 1], got 8; images are in [0, 1], so write 8 grey levels as 8/255",
    ),
    "epsilon abc": (
        ["own:fixed", *DATA, "--epsilon", "abc"],
        "expected a number in [0, 1] such as 0.3 or 8/255",
    ),
    "epsilon 1/0": (
        ["own:fixed", *DATA, "--epsilon", "1/0"],
        "expected a number in [0, 1] such as 0.3 or 8/255",
    ),
    "factory raises": (["own:raises", *FEW], "model: own:raises raised RuntimeError: no luck"),
    "widths of one's own": (
        ["own:fixed", *FEW, "--width", "8"],
        "width and widths: are for built-in networks; e",
    ),
    "factory gives a number": (["own:a_number", *FEW], "own:a_number to return a callable, got int"),
    "module": (
        ["nowhere:fixed", *FEW],
        "model: expected a factory at nowhere:fixed, got ModuleNotFoundError: No module",
    ),
    "attribute": (["own:nothing", *FEW], "module 'own' has no attribute 'nothing'"),
    "model": (["perceptron", *FEW], "model: expected PACKAGE.MODULE:FACTORY, FILE.onnx or one of mlp, linear, l"),
    "widths": (["mlp", "--widths", "64,x", *FEW], "Invalid value for '--widths': 'x' is not a valid integer"),
    "width": (["mlp", "--width", "64", *FEW], "width: expected none (mlp takes widths), got 64"),
    "no weights": (["mlp", *FEW], "weights: expected a file for the built-in mlp, got none; pass --weights FILE"),
    "missing weights": (["mlp", "--weights", "none.pt", *FEW], "none.pt: no such weights file"),
    "other weights": (
        ["mlp", "--widths", "32", "--weights", "weights.safetensors", *FEW],
        "weights.safetensors: tensor '1.weight': expected shape (32, 64), got (64, 64)",
    ),
    "code for weights": (["mlp", "--weights", "code.pt", *FEW], "code.pt: expected weights as safetensors, or as .pt"),
    "weights of a function": (
        ["own:just_a_function", "--weights", "weights.safetensors", *FEW],
        "weights: expected none, since own:just_a_function returned a function",
    ),
    "classes": (["own:three", *FEW], "model: expected logits (N, 10) for 10 classes, got (N, 3)"),
    "nan": (["own:not_a_number", *FEW], "model: expected finite logits, got NaN on 20 of 20 images"),
    "size": (
        ["own:for_other_images", *FEW],
        "model: raised RuntimeError on images (20, 1, 8, 8): mat1 and mat2",
    ),
    "samples": (["own:fixed", *DATA, *BOUND, "--samples", "0"], "'--samples': 0 is not in the range"),
    "device": (
        ["own:fixed", *FEW, "--device", "abacus"],
        "device: expected one that torch can use here, such as",
    ),
    "device out of reach": (["own:fixed", *FEW, "--device", "fpga"], "such as cpu, got 'fpga': Could not run"),
    "device without data": (["own:fixed", *FEW, "--device", "meta"], "such as cpu, got 'meta'"),
}


@pytest.mark.parametrize("command", ["audit", "attack"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_plain_line(command, name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    arguments, message = BAD[name]
    assert_refused(unmask(command, *arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "own:a_number"], "attack: own:a_number raised TypeError"),
        (["--reference", "cw"], "Invalid value for '--reference': expected one of fgsm, rfgsm, "),
        (["--reference", "own:a_number"], "reference: own:a_number raised TypeError"),
        (
            ["--surrogate", "own:a_number"],
            "model: expected own:a_number to return a callable, got int",
        ),
        (
            ["--surrogate-weights", "code.pt"],
            "--surrogate-weights: expected --surrogate, the model that they belong to",
        ),
    ],
)
def test_bad_input_to_audit_is_one_plain_line(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert_refused(unmask("audit", "own:fixed", *FEW, *arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["mlp", *DATA, "--objective", "fgsm"],
            "--epsilon: expected the bound that --objective fgsm trains against, got none",
        ),
        (
            ["mlp", *DATA, "--lr", "-1"],
            "'--lr': -1.0 is not in the range x>0",
        ),
        (
            ["mlp", *DATA, *BOUND, "--objective", "ensemble"],
            "--source: expected the finished models of --objective ensemble, got none",
        ),
        (
            ["mlp", *DATA, *BOUND, "--objective", "fgsm", "--source", "mlp", "weights.safetensors"],
            "--source: expected none, since it means nothing to --objective fgsm",
        ),
        (
            ["mlp", *DATA, *BOUND, "--objective", "ensemble", "--source", "linear", "weights.safetensors"],
            "weights.safetensors: tensor '1.weight': expected shape (10, 64), got (64, 64)",
        ),
        (["mlp", *DATA, "--objective", "fsgm"], "Invalid value for '--objective': expected one of normal, fgsm,"),
        (["mlp", *DATA, *BOUND], "--epsilon: expected none, since --objective normal trains without an attack"),
        (["mlp", *DATA, "--optimizer", "adamm"], "Invalid value for '--optimizer': expected one of sgd, momentum,"),
        (["mlp", *DATA, "--watch", "50"], "--watch: expected --objective and --epsilon, the attack that is trained"),
        (["mlp", *DATA, "--updates", "0"], "'--updates': 0 is not in the range"),
        (["mlp", *DATA, "--out", "weights.safetensors"], "'--out': Directory 'weights.safetensors' is a file"),
        (["vgg-11", *DATA], "inputs: expected images of at least 32x32 for vgg-11, got 8x8"),
        (
            ["own:just_a_function", *DATA],
            "model: expected own:just_a_function to return a torch module to",
        ),
        (["own:three", *DATA], "model: expected logits (N, 10) for 10 classes, got (N, 3)"),
        (["own:for_other_images", *DATA], "model: raised RuntimeError on images (2, 1, 8, 8)"),
    ],
)
def test_bad_input_to_train_is_one_plain_line(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = [] if "--out" in arguments else ["--out", "run"]
    assert_refused(unmask("train", *arguments, *options), message)
    assert not (folder / "run").exists()


def test_where_it_was_found_is_shown_on_request():
    with pytest.raises(ValueError, match="unknown data set"):
        unmask("--traceback", "audit", "own:fixed", "--data", "cats", *BOUND)


def test_an_interruption_is_not_taken_for_an_answer(monkeypatch):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["unmask.cli.attack"], "load_data", interrupted)
    assert unmask("attack", "own:fixed", *FEW, "--epsilon", "0.1").exit_code == 130


def test_what_goes_wrong_here_is_not_taken_for_an_answer(monkeypatch):
    monkeypatch.setattr(sys.modules["unmask.cli.attack"], "load_data", lambda *given, **named: 1 / 0)
    assert unmask("attack", "own:fixed", *FEW, "--epsilon", "0.1").exit_code == 3


def test_a_factory_may_be_in_a_file_anywhere(tmp_path, monkeypatch):
    """Two files of the same name are two modules, and each finds what lies beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        (folder / f"beside_{number}.py").write_text(f"FIRST = {number}\n")
        (folder / "json.py").write_text(f"from beside_{number} import FIRST\nmake = lambda: lambda x: x + FIRST\n")
    first, second = (make("model", f"{tmp_path / str(number) / 'json.py'}:make") for number in range(2))
    assert (first(1), second(1)) == (1, 2)
    result = unmask("attack", f"{tmp_path / 'none.py'}:make", *FEW)
    assert_refused(result, "none.py:make, got FileNotFoundError: [Errno 2] No such file or directory")
