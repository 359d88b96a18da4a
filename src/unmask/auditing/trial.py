"""A trial: attacks in turn on the same examples, on the audited model or on a proxy of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from unmask.attacks import Attack, BoundedAttack
from unmask.attacks.attack import settings_in_words
from unmask.numerics import Model


class Proxy(NamedTuple):
    """A model that attacks are made on in place of the audited one, which judges the images that they find.

    Attributes:
        name: in words, for reports.
        model: from images to logits.
        factor: the cost of its gradient, in gradients of the audited model.
        derived: whether it follows from the audited model alone, so that outcomes can be kept on disk.
    """

    name: str
    model: Model
    factor: float = 1.0
    derived: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Attacks in turn on the same examples, each on those that are still classified correctly.

    Attributes:
        name: in words, for reports.
        attacks: at least one.
        proxy: the model that they are made on, if not the audited one.
        keep_images: whether the evaluator remembers the images besides what became of them.

    Example:
        >>> from unmask.attacks import FGSM
        >>> Trial(name="twice", attacks=(FGSM(0.1), FGSM(0.1))).settings
        '2 times FGSM: epsilon 0.1, loss cross entropy'
    """

    name: str
    attacks: tuple[Attack, ...]
    proxy: Proxy | None = None
    keep_images: bool = False

    @property
    def cost(self) -> float:
        """Gradients of the audited model per image."""
        return sum(attack.cost for attack in self.attacks) * (self.proxy.factor if self.proxy else 1.0)

    @property
    def settings(self) -> str:
        """The attacks' settings in words; of several of one kind, their number and the settings they share."""
        listed = []
        for name, run in groupby(self.attacks, key=lambda attack: attack.name):
            each = [settings_in_words(attack) for attack in run]
            shared = [f"{key} {value}" for key, value in each[0].items() if all(one.get(key) == value for one in each)]
            times = f"{len(each)} times " if len(each) > 1 else ""
            listed.append(times + name + (": " if shared else "") + ", ".join(shared))
        return "; ".join(listed) + (f"; on {self.proxy.name}" if self.proxy else "")

    def equals(self, attacks: Sequence[Attack], proxy: Proxy | None) -> bool:
        """Return whether it would make the same images."""
        same_model = (self.proxy and self.proxy.model) is (proxy and proxy.model)
        return same_model and len(self.attacks) == len(attacks) and all(map(_equal, self.attacks, attacks))


def _equal(one: Attack, other: Attack) -> bool:
    """Return whether two attacks are one, or equal and of this package: others' ``==`` may leave settings out."""
    if one is other or not (isinstance(one, BoundedAttack) and type(one).__module__.startswith("unmask.")):
        return one is other
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # they hold tensors or arrays, which are compared entry by entry
        return False
