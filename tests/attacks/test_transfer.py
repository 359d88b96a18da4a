"""Transfer: attacks on a proxy, tried on the model."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from unmask.attacks import EOT, FGSM, PGD, Attack, Square, Transfer, bpda, predict, settings_in_words
from unmask.losses import log_odds
from unmask.models.masked import ZeroBackward


def test_the_attack_is_made_on_the_proxy_and_only_the_proxy(perceptron, few):
    inverted = lambda x: -perceptron(x)  # noqa: E731
    attack = Transfer(attack=FGSM(0.1), proxy=lambda model: inverted)
    found = attack(perceptron, *few)
    assert torch.equal(found, FGSM(0.1)(inverted, *few))
    assert not torch.equal(predict(perceptron, found), predict(perceptron, FGSM(0.1)(perceptron, *few)))


def test_a_network_of_its_own_is_attacked_in_the_models_place(perceptron, linear, few):
    found = Transfer(attack=FGSM(0.1), proxy=linear)(perceptron, *few)
    assert torch.equal(found, FGSM(0.1)(linear, *few))


def test_the_proxy_is_in_evaluation_mode_meanwhile_and_left_as_it_was(few):
    proxy, modes = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)).train(), []

    def attack(model, images, labels):
        modes.append([part.training for part in model.modules()])
        model(images.clone().requires_grad_()).sum().backward()
        return images

    Transfer(attack=attack, proxy=proxy)(None, *few)
    assert not any(modes[0])
    assert all(part.training for part in proxy.modules())
    assert all(parameter.grad is None for parameter in proxy.parameters())


def test_settings_that_are_not_its_own_are_replaced_in_the_attack():
    attack = Transfer(attack=PGD(0.1, steps=4), proxy=bpda)
    changed = attack.replace(epsilon="1/4", steps=8, loss=log_odds, passes=2)
    assert changed == Transfer(attack=PGD(0.25, steps=8, loss=log_odds), proxy=bpda, passes=2)
    assert changed.replace(attack=FGSM(0.1), epsilon=0.2).attack == FGSM(0.2)
    assert attack.replace(proxy=ZeroBackward).proxy is ZeroBackward


def test_it_declares_the_cost_and_the_need_of_gradients_of_its_attack(linear):
    averaged = Transfer(attack=PGD(0.1, steps=10), proxy=partial(EOT, draws=16), passes=16)
    assert isinstance(averaged, Attack)
    assert averaged.cost == 16 * PGD(0.1, steps=10).cost
    assert averaged.needs_gradients
    assert not Transfer(attack=Square(0.1), proxy=bpda).needs_gradients
    assert not Transfer(attack=PGD(0.1), proxy=linear).needs_gradients  # a surrogate has gradients of its own


def test_the_attack_may_be_anybodys():
    def unchanged(model, images, labels):
        return images

    attack = Transfer(attack=unchanged, proxy=bpda)
    assert attack.cost == pytest.approx(1.4)
    with pytest.raises(ValueError, match=r"^unchanged: expected a dataclass with the settings epsilon$"):
        attack.replace(epsilon=0.1)


def test_settings_in_words_name_the_attack_and_the_proxy(linear):
    words = settings_in_words(Transfer(attack=FGSM(0.25), proxy=partial(EOT, draws=16)))
    assert words == {"attack": "FGSM: epsilon 0.25, loss cross entropy", "proxy": "EOT: draws 16"}
    assert settings_in_words(Transfer(attack=FGSM(0.25), proxy=bpda))["proxy"] == "bpda"
    assert settings_in_words(Transfer(attack=FGSM(0.25), proxy=linear))["proxy"] == type(linear).__name__
