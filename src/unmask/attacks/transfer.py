"""Transfer: an attack that is made on a proxy of the model and tried on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from unmask.attacks.attack import as_attack
from unmask.numerics import Model, evaluating

OWN = ("attack", "proxy", "passes")
"""The settings of a transfer; all others are its attack's."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """``attack(proxy(model), images, labels)``: an attack on the model through a proxy of it.

    The proxy has what the model lacks. For a randomised model it is the mean over draws, ``partial(EOT, draws=16)``;
    for a model with operations that have no useful gradient it is ``bpda``; for a model without gradients it is another
    network, such as one of ``train_surrogate``. The attack's images are those that are strongest on the proxy.

    Attributes:
        attack: an attack of this package, or any callable ``attack(model, images, labels) -> images``.
        proxy: a network of its own, attacked in the model's place; or a function that makes the proxy from the model,
            called for each batch.
        passes: passes through the model in one pass through the proxy, such as the draws of ``EOT``; the cost counts
            them.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> attack = Transfer(attack=FGSM(0.25), proxy=lambda model: lambda x: x.flatten(1))
        >>> rounded = lambda x: x.flatten(1).round()
        >>> images, labels = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])
        >>> FGSM(0.25)(rounded, images, labels).flatten(), attack(rounded, images, labels).flatten()
        (tensor([0.7500, 0.2500]), tensor([0.5000, 0.5000]))
        >>> attack.replace(epsilon="1/8")(rounded, images, labels).flatten()
        tensor([0.6250, 0.3750])
    """

    attack: Callable[[Model, Tensor, Tensor], Tensor]
    proxy: nn.Module | Callable[[Model], Model]
    passes: int = 1

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def cost(self) -> float:
        """The attack's cost, times the passes of the proxy."""
        return self.passes * as_attack(self.attack).cost

    @property
    def needs_gradients(self) -> bool:
        """True if the attack needs gradients and the proxy takes them from the model, so is no network of its own."""
        return as_attack(self.attack).needs_gradients and not isinstance(self.proxy, nn.Module)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The attack and the proxy."""
        return {"attack": self.attack, "proxy": self.proxy}

    def replace(self, **settings: Any) -> Transfer:
        """Return the same transfer with some settings changed; those that are not its own are its attack's.

        Raises:
            ValueError, TypeError: the attack has no such setting.
        """
        own = {name: value for name, value in settings.items() if name in OWN}
        inner = {name: value for name, value in settings.items() if name not in OWN}
        changed = replace(self, **own)
        return replace(changed, attack=as_attack(changed.attack).replace(**inner)) if inner else changed

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon of the attack in turn."""
        for epsilon in epsilons:
            yield self.replace(epsilon=epsilon)(model, images, labels)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        proxy = self.proxy if isinstance(self.proxy, nn.Module) else self.proxy(model)
        with evaluating(proxy):
            return self.attack(proxy, images, labels)
