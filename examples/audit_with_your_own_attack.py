"""Audit a model together with an attack of your own that knows how the model is defended."""

import torch
from torch import Tensor

import unmask
from unmask.models.masked import ZeroBackward


def main() -> None:
    """Hide the gradient of a network, and attack it with an attack that knows the network."""
    train, test = (unmask.data.load("digits", split) for split in ("train", "test"))
    network = unmask.models.build("mlp", inputs=(1, 8, 8), classes=10, widths=(32,))
    for _ in unmask.Trainer(updates=150)(network, train):
        pass

    def around_the_defence(model: torch.nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Step along the gradient of the network itself, since the defended model gives none."""
        return unmask.attacks.PGD(0.1, steps=10)(network, images, labels)

    attack = unmask.as_attack(around_the_defence, cost=10, name="around the defence")
    report = unmask.audit(
        ZeroBackward(network), test.images[:60], test.labels[:60], epsilon=0.1, attacks=[attack], effort=unmask.QUICK
    )
    print(f"{report.verdict}: {', '.join(report.causes)}")


if __name__ == "__main__":
    main()
