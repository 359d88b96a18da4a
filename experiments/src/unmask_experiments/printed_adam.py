"""The Adam that Yanagita & Yamamura 2018 print, in three variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Variant = Literal["standard", "double_corrected", "literal"]
"""The ways to understand the printed rule; see ``PrintedAdam``."""


class PrintedAdam(Optimizer):
    r"""Adam as Yanagita & Yamamura 2018 (section III.A) print it, in three variants.

    ``"standard"``: Kingma & Ba's, with m and v corrected once and the step alpha: the rule that the text cites.
    ``"double_corrected"``: m and v corrected (not compounding), and alpha corrected again:
    ``alpha sqrt(1 - b2^t) / (1 - b1^t) m_hat / (sqrt(v_hat) + epsilon)``.
    ``"literal"``: as printed, the corrected m and v go into the next step. v is then multiplied by
    ``b2 / (1 - b2^t) > 1`` until t = 6,904, overflows float32 between t = 20 and 30, and training freezes: a misprint.

    Raises:
        ValueError: unknown variant.

    Example:
        >>> PrintedAdam(nn.Linear(1, 1).parameters(), lr=0.001, variant="literal").defaults["betas"]
        (0.9, 0.999)
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.001,
        *,
        variant: Variant = "standard",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"variant: expected one of {', '.join(get_args(Variant))}, got {variant!r}")
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "variant": variant}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state |= {"step": torch.zeros(()), "m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}
        state["step"] += 1
        beta_1, beta_2 = group["betas"]
        correct_1, correct_2 = (1 - beta ** int(state["step"]) for beta in (beta_1, beta_2))
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        m = state["m"].lerp_(gradient, 1 - beta_1)
        v = state["v"].mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        if group["variant"] == "literal":
            m.div_(correct_1)
            v.div_(correct_2)
        else:
            m, v = m / correct_1, v / correct_2
        alpha = group["lr"] * (1.0 if group["variant"] == "standard" else math.sqrt(correct_2) / correct_1)
        parameter.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-alpha)


VARIANTS: Mapping[str, Callable[..., Optimizer]] = {
    "adam-double-corrected": partial(PrintedAdam, variant="double_corrected"),
    "adam-literal": partial(PrintedAdam, variant="literal"),
}
"""The variants beside the standard one, by their names in configurations."""
