"""Audit a torch model of the digits whose logits are so large that cross entropy has no gradient left."""

import unmask
from unmask.models.masked import ScaledLogits


def main() -> None:
    """Train a small network, multiply its logits by 300, and audit the result."""
    train, test = (unmask.data.load("digits", split) for split in ("train", "test"))
    network = unmask.models.build("mlp", inputs=(1, 8, 8), classes=10, widths=(32,))
    for _ in unmask.Trainer(updates=150)(network, train):
        pass
    model = ScaledLogits(network, factor=300.0)
    report = unmask.audit(model, test.images[:100], test.labels[:100], epsilon=0.1, effort=unmask.QUICK)
    print(f"{report.verdict}: {', '.join(report.causes)}")
    print(f"claimed {report.claimed_accuracy:.2f}, robust {report.robust_accuracy:.2f}")


if __name__ == "__main__":
    main()
