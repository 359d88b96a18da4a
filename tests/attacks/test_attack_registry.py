"""The registry of attacks, ``build`` and the declarations of attacks from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from unmask import attacks
from unmask.attacks import (
    APGD,
    ATTACKS,
    FGSM,
    LOSSES,
    MIFGSM,
    PGD,
    RSFGSM,
    Attack,
    BoundedAttack,
    ForeignAttack,
    as_attack,
    build,
    settings_in_words,
)
from unmask.losses import cross_entropy, dlr, log_odds, margin


def test_the_registry_holds_every_attack_that_is_exported():
    exported = [getattr(attacks, name) for name in attacks.__all__]
    bounded = {one for one in exported if isinstance(one, type) and issubclass(one, BoundedAttack)} - {BoundedAttack}
    assert set(ATTACKS.values()) == bounded
    assert len(ATTACKS) == len(bounded)


def test_every_attack_derives_from_the_base_directly_and_documents_its_settings():
    for name, kind in ATTACKS.items():
        assert kind.__bases__ == (BoundedAttack,)
        assert ">>> " in kind.__doc__
        assert name == name.lower()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_built_by_name(name):
    attack = build(name, "8/255")
    assert type(attack) is ATTACKS[name]
    assert attack == ATTACKS[name](8 / 255)


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("fgsm-log-odds", FGSM(0.1, loss=log_odds)),
        ("fgsm-cross-entropy", FGSM(0.1, loss=cross_entropy)),
        ("rs-fgsm-margin", RSFGSM(0.1, loss=margin)),
        ("mi-fgsm-log-odds", MIFGSM(0.1, loss=log_odds)),
        ("apgd-dlr", APGD(0.1, loss=dlr)),
    ],
)
def test_a_suffix_names_the_loss(name, attack):
    assert build(name, 0.1) == attack


def test_settings_are_those_of_the_class():
    assert build("pgd-margin", 0.1, steps=7, keep="last") == PGD(0.1, steps=7, keep="last", loss=margin)
    assert build("fgsm", 0.1, loss=log_odds) == build("fgsm-log-odds", 0.1)


@pytest.mark.parametrize("name", ["fgsm", "rfgsm", "rs-fgsm", "ifgsm", "mi-fgsm", "pgd", "apgd"])
def test_the_default_loss_is_the_papers(name):
    assert build(name, 0.1).settings["loss"] is cross_entropy


@pytest.mark.parametrize(
    "name", ["gcd", "fgsm-", "fgsm-logits", "square-margin", "apgd-targeted-dlr", "-margin", "FGSM"]
)
def test_an_unknown_name_is_refused_in_one_line_that_lists_the_known(name):
    with pytest.raises(ValueError, match=r"^attack: expected one of fgsm, .*spsa") as error:
        build(name, 0.1)
    assert str(error.value).endswith(f"got {name!r}")
    assert all(known in str(error.value) for known in (*ATTACKS, *LOSSES))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fgsm", {"steps": 3}, "^fgsm: expected settings among loss, got 'steps'$"),
        ("ifgsm", {"restarts": 3}, "^ifgsm: expected settings among steps, loss, got 'restarts'$"),
        ("pgd-margin", {"loss": dlr}, "^pgd-margin: expected no setting 'loss' beside the one in the name$"),
        ("pgd", {"steps": 0}, "^steps: expected a whole number above 0, got 0$"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build(name, 0.1, **settings)


def test_epsilon_is_checked():
    with pytest.raises(
        ValueError, match=r"^epsilon: expected a number in \[0, 1\], got 8; .* write 8 grey levels as 8/255"
    ):
        build("fgsm", 8)


@pytest.mark.parametrize(
    ("name", "settings", "cost"),
    [
        ("fgsm", {}, 1.4),
        ("rfgsm", {}, 1.4),
        ("rs-fgsm", {}, 1.4),
        ("frsm", {}, 0.4),
        ("ifgsm", {"steps": 7}, 7.4),
        ("mi-fgsm", {"steps": 7}, 7.4),
        ("pgd", {"steps": 7, "restarts": 3}, 21.4),
        ("apgd", {"steps": 7, "restarts": 3}, 21.4),
        ("apgd-targeted", {"steps": 7, "restarts": 3, "targets": 2}, 42.4),
        ("deepfool", {"steps": 7}, 7.4),
        ("square", {"queries": 10, "restarts": 3}, 12.0),
        ("spsa", {"steps": 7, "samples": 8}, 0.4 * 17 * 7 + 0.4),
    ],
)
def test_the_costs_in_gradients(name, settings, cost):
    assert build(name, 0.1, **settings).cost == pytest.approx(cost)


# --- attacks from elsewhere


@dataclass(frozen=True)
class Theirs:
    """A stranger's attack with the usual settings."""

    epsilon: float
    steps: int = 5
    restarts: int = 2
    mode: str | None = None

    def __call__(self, model, images, labels):
        return images + self.epsilon


def test_an_attack_that_declares_itself_is_returned_as_it_is():
    attack = PGD(0.1)
    assert as_attack(attack) is attack


def test_a_strangers_dataclass_declares_what_its_settings_say():
    attack = as_attack(Theirs(0.1))
    assert isinstance(attack, Attack)
    assert isinstance(attack, ForeignAttack)
    assert (attack.name, attack.needs_gradients) == ("Theirs", True)
    assert attack.settings == {"epsilon": 0.1, "steps": 5, "restarts": 2}
    assert settings_in_words(attack) == {"epsilon": "0.1", "steps": "5", "restarts": "2"}
    assert attack.cost == pytest.approx(10.4)
    assert attack.replace(steps=1).cost == pytest.approx(2.4)
    assert attack.replace(mode="fast").settings["mode"] == "fast"
    assert as_attack(Theirs(0.1), cost=3.0).replace(steps=1).cost == 3.0
    assert list(attack.sweep(None, 0.0, None, epsilons=[0.1, 0.3])) == [0.1, 0.3]
    with pytest.raises(ValueError, match=r"^Theirs: expected a dataclass with the settings targets$"):
        attack.replace(targets=3)


def test_a_strangers_function_is_called_as_it_is():
    def noise(model, images, labels):
        return images + 1

    attack = as_attack(noise, cost=2, name="noise", needs_gradients=False)
    assert (attack.name, attack.cost, attack.needs_gradients, attack.settings) == ("noise", 2, False, {})
    assert attack(None, 1, None) == 2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (PGD, "^attack: expected one that takes .*, got PGD; a class is to be called first$"),
        (lambda images: images, "^attack: expected one that takes .model, images, labels., got <lambda>$"),
        ("pgd", "^attack: expected a callable .*, got 'pgd'$"),
    ],
)
def test_objects_that_are_no_attack_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        as_attack(function)
