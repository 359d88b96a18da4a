"""The truth of a pair: the rule that decides if it is masked, applied before its audit.

The rule. A pair of a model and a reference attack is *masked* if some repair of the attack fools more images than the
same attack unrepaired, *at an equal budget*, and more than was claimed. A repair is what somebody who knows the model
would do: differentiate a proxy instead of the defence (``Defence.proxy``), maximise log-odds instead of cross
entropy, average over draws, or query scores alone. More restarts or starts are no repair: both sides get them.
There are up to six comparisons, each with a paired interval at 95 % over all of them (``verdict.paired_gain``):

one step, half a step, one step from a corner
    for a reference of one step; each is one gradient of the proxy, with log-odds: at the image, by epsilon and by
    half of it, and from a random corner half of epsilon away. Unrepaired: the reference, which is the same each time it
    is run. That a shorter step fools more (Kim, Lee & Lee 2021, Understanding Catastrophic Overfitting in Single-step
    Adversarial Training), or one from a random start (Tramer et al. 2018, section 3), is how training with single steps
    masks.
collapse
    for a reference of one step, and a proxy that is no mean: forty small steps against one step from forty starts,
    a tenth of epsilon away. More steps find more on any network; here they must win ``COLLAPSE``, as they do where
    training with single steps has bent the loss (Wong, Rice & Kolter 2020, section 5: catastrophic overfitting), and
    the reference must have found less than ``FEW`` of all errors that there are: on a plain network it finds many.
many steps
    Unrepaired: the reference, PGD and Auto-PGD with its loss on the model as it is. Repaired: the same two on the
    proxy, with log-odds. Where the proxy is a mean over draws, the unrepaired attacks are run as many times; so
    is one step, from starts a tenth of epsilon away.
queries
    the same unrepaired attacks against Square with as many passes through the model (Carlini et al. 2019: attacks
    without gradients that do better are a sign of masking). Not for randomised models.

Masked: the lower end of one of the intervals is above ``EDGE``. Not masked: the upper ends of all are below it
(``COLLAPSE`` for that comparison, unless the reference found more than ``SOME`` of all errors). A pair in between, or
one that does no better than guessing, is *excluded*, and is never audited. ``EDGE`` is above the two points that an
audit calls masking, because the attacks here are allowed more.

The worst case. For an exact pair it is the network's own, and that the pair decides as the network does is
asserted on clean, random and adversarial images. For a linear network with a sandwiched defence two closed forms bound
it. For the others it is over all attacks of ``worst_case.strongest`` on the proxy. Of a randomised model it is the
decision by the mean probability over ``DRAWS`` draws that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import APGD, FGSM, PGD, RFGSM, Square, Transfer
from unmask.data import Dataset
from unmask.losses import cross_entropy, log_odds
from unmask.models import digest
from unmask.numerics import derive_seed
from unmask.statistics import PairedGain, paired_gain, proportion
from unmask.threats import Linf
from unmask_experiments.evaluation import Attack, unchanged
from unmask_experiments.sweeps import read_run, record_of
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.defences import DEFENCES, DRAWS
from unmask_experiments.zoo.linear import worst_margin
from unmask_experiments.zoo.networks import audited_images, batches, trained_network
from unmask_experiments.zoo.proxies import MeanProbability
from unmask_experiments.zoo.worst_case import CACHE, ResultCache, as_flags, as_text, correct_under_all, strongest

EDGE = 0.03
"""The gain of a repair, as a share of the images, at which a pair is masked; see above."""

COLLAPSE = 0.15
"""The gain of forty small steps over as many single ones at which a network has collapsed."""

FEW, SOME = 1 / 4, 1 / 3
"""Shares of all errors that a single step finds: fewer than the first on a collapsed network, more on others."""

STEPS = (40, 100)
"""Steps of PGD and Auto-PGD where repaired and unrepaired attacks are compared; Square gets two queries for each."""

SPACING, LEVEL = 0.0625, 1 / 510
"""The step of float32 near 1e6, in logits; half of a step of 1/255, in pixels."""

CLASSES = 10

WORST_CASES = "floors"
"""The folder of the networks' worst cases; records that lie there keep it."""


def establish_truth(
    case: Case, *, work: Path, progress: Callable[[float], None] = lambda share: None, folder: Path
) -> dict[str, Any]:
    """Establish the truth of a pair, with its measurements. ``folder`` has the records of the zoo.

    Raises:
        ValueError: the pair has been audited already, the worst case of its network is missing or of other weights, or
            an exact pair does not decide as its network does.
    """
    if (audited := record_of(folder / "audits", case)).is_file():
        raise ValueError(f"{audited}: expected no audit before the truth of {case.name} is known; remove it")
    data, network = audited_images(case.data, case.images), trained_network(case, work)
    model, proxy, defence = case.published(network), case.proxy(network), DEFENCES[case.defence]
    judge = MeanProbability(model, draws=DRAWS) if defence.random else model
    claim = Transfer(attack=case.attack(), proxy=model)
    if defence.truth == "exact":
        check_exact(case, model, network, data, claim)
    cache = ResultCache(work / CACHE, weights=digest(network))
    correct = partial(correct_under_all, judge, data=data, cache=cache)
    clean, claimed = correct([unchanged], stage="clean"), correct([claim], stage="claimed")
    progress(0.1)
    gains, worst = {}, claimed
    pairs = comparisons(case, model, proxy)
    for name, (unrepaired, repaired) in pairs.items():
        before = correct([claim, *unrepaired], stage=f"{name}, unrepaired")
        after = correct(repaired, stage=f"{name}, repaired")
        gains[name] = paired_gain(before.tolist(), after.tolist(), comparisons=len(pairs))
        worst = worst & before & after
        progress(0.1 + 0.6 * len(gains) / len(pairs))
    if defence.truth == "exact":
        worst = worst & torch.tensor(as_flags(_worst_case_of_network(case, folder, digest(network))["worst"]))
    else:
        worst = worst & correct(strongest(_spent(case), proxy, search=not defence.random), stage="worst case")
    cache.close()
    found = share_found(clean, claimed, worst)
    answer, because = rule(gains, right=int(clean.sum()), total=len(clean), found=found)
    bounds = _bounds(case, network, data)
    return {
        "weights": digest(network),
        "truth": answer,
        "because": because,
        "how": defence.truth,
        "clean": as_text(clean),
        "claimed": as_text(claimed),
        "worst": as_text(worst),
        "bounds": bounds,
        "gains": {name: gain._asdict() for name, gain in gains.items()},
    }


def share_found(clean: Tensor, claimed: Tensor, worst: Tensor) -> float:
    """Return the share of all errors that the reference finds; 1 if there are none.

    Example:
        >>> share_found(*torch.tensor([[True] * 4, [True] * 3 + [False], [False] * 4]))
        0.25
    """
    errors = clean & ~worst
    return float((errors & ~claimed).sum() / errors.sum()) if errors.any() else 1.0


def rule(gains: Mapping[str, PairedGain], *, right: int, total: int, found: float = 0.0) -> tuple[str, str]:
    """Return ``"masked"``, ``"not masked"`` or ``"excluded"`` with the reason.

    ``found`` is the share of errors that the reference finds.

    Example:
        >>> rule({"one step": paired_gain([True] * 100, [False] * 40 + [True] * 60)}, right=100, total=100)
        ('masked', 'one step: a repair wins 40.0 points (29.4 to 49.1)')
    """
    if proportion(right, total).low <= 1 / CLASSES:
        return "excluded", f"right on {right} of {total} images, no better than guessing"
    edges = {name: COLLAPSE if name == "collapse" else EDGE for name in gains}
    counted = {name: gain for name, gain in gains.items() if name != "collapse" or found < FEW}
    name, largest = max(counted.items(), key=lambda pair: pair[1].low - edges[pair[0]])
    if largest.low > edges[name]:
        return "masked", _words(name, largest)
    counted = {name: gain for name, gain in gains.items() if name != "collapse" or found <= SOME}
    name, largest = max(counted.items(), key=lambda pair: pair[1].high - edges[pair[0]])
    return "not masked" if largest.high < edges[name] else "excluded", _words(name, largest)


def comparisons(case: Case, model: nn.Module, proxy: nn.Module) -> dict[str, tuple[Sequence[Attack], Sequence[Attack]]]:
    """Return unrepaired and repaired attacks of equal budget, by name; the reference belongs to the unrepaired ones."""
    epsilon, loss = case.epsilon, cross_entropy if case.reference == "fgsm" else log_odds
    seed = derive_seed(case.seed, "compare")
    as_is, repaired = partial(_made_on, model), partial(_made_on, proxy)
    few, many = STEPS
    times, found = DEFENCES[case.defence].passes, dict[str, tuple[Sequence[Attack], Sequence[Attack]]]()
    if case.reference == "fgsm":
        starts = [derive_seed(seed, "near", i) for i in range(times - 1)]
        near = [as_is(RFGSM(epsilon=epsilon, alpha=epsilon / 10, loss=loss, seed=one)) for one in starts]
        found["one step"] = near, [repaired(FGSM(epsilon=epsilon, loss=log_odds))]
        found["half a step"] = near, [repaired(FGSM(epsilon=epsilon / 2, loss=log_odds))]
        found["one step from a corner"] = (
            near,
            [repaired(RFGSM(epsilon=epsilon, alpha=epsilon / 2, loss=log_odds, seed=seed))],
        )
    if case.reference == "fgsm" and times == 1:
        small = PGD(epsilon=epsilon, steps=few - 1, loss=log_odds, seed=seed)
        single = [derive_seed(seed, "single", i) for i in range(few - 1)]
        again = [as_is(RFGSM(epsilon=epsilon, alpha=epsilon / 10, loss=log_odds, seed=one)) for one in single]
        found["collapse"] = again, [repaired(FGSM(epsilon=epsilon, loss=log_odds)), repaired(small)]
    path = PGD(epsilon=epsilon, steps=few, loss=log_odds, seed=seed)
    auto = APGD(epsilon=epsilon, steps=many, loss=log_odds, seed=seed)
    seeds = [derive_seed(seed, i) for i in range(times)]
    unrepaired = [as_is(replace(one, loss=loss, seed=each)) for each in seeds for one in (path, auto)]
    found["many steps"] = unrepaired, [repaired(path), repaired(auto)]
    if not DEFENCES[case.defence].random:
        found["queries"] = unrepaired, [Square(epsilon=epsilon, queries=2 * (few + many) * times, seed=seed)]
    return found


def _made_on(proxy: nn.Module, attack: Attack) -> Attack:
    return Transfer(attack=attack, proxy=proxy)


def check_exact(case: Case, model: nn.Module, network: nn.Module, data: Dataset, claim: Attack) -> None:
    """Refuse a pair that does not decide as its network does: on clean, random and adversarial images, and on noise.

    Raises:
        ValueError: it decides otherwise.
    """

    def same(images: Tensor, labels: Tensor) -> Tensor:
        noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(case.seed)).to(images)
        inside = Linf(epsilon=case.epsilon).random_start(images, seed=case.seed)
        points = (images, inside, claim(model, images, labels), noise)
        with torch.no_grad():
            return torch.stack([model(one).argmax(1) == network(one).argmax(1) for one in points]).all(0)

    (alike,) = batches()(same, data.images, data.labels)
    if not alike.all():
        bad = int((~alike).sum())
        raise ValueError(f"{case.name}: expected its network's own decisions, got others on {bad} of {len(alike)}")


def _spent(case: Case) -> Case:
    """Return the budget of the worst case: fewer steps where each averages over many draws."""
    many = DEFENCES[case.defence].passes > 1
    return replace(case, steps=max(case.steps // 4, 1), restarts=1) if many else case


def _worst_case_of_network(case: Case, folder: Path, weights: str) -> dict[str, Any]:
    """Return the worst case of the network itself, as it was established before."""
    path = record_of(folder / WORST_CASES, case.undefended)
    found = dict(read_run(path)["result"])
    if found["weights"] != weights:
        raise ValueError(f"{path}: expected the worst case of the weights {weights}, got that of {found['weights']}")
    return found


def _bounds(case: Case, network: nn.Module, data: Dataset) -> list[float] | None:
    """Return the closed forms' bounds of the accuracy in the worst case; None where there are none."""
    margin = partial(worst_margin, network, data.images, data.labels)
    if case.network != "linear":
        return None
    if case.defence == "plus 1e6":
        low, high = (margin(case.epsilon) < side for side in (-SPACING, SPACING))
    elif case.defence == "256 levels":
        low, high = (margin(case.epsilon + side) < 0 for side in (LEVEL, -LEVEL))
    else:
        low = high = margin(case.epsilon) < 0
    return [float(one.double().mean()) for one in (low, high)]


def _words(name: str, gain: PairedGain) -> str:
    return f"{name}: a repair wins {100 * gain.gain:.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
