"""Compare two audits of the same images: before and after training against PGD."""

import unmask
from unmask.training.objectives import Adversarial, Normal


def main() -> None:
    """Train one network on clean images and one on PGD's, audit both, and print what changed."""
    train, test = (unmask.data.load("digits", split) for split in ("train", "test"))
    reports = []
    for objective in (Normal(), Adversarial(attack=unmask.attacks.PGD(0.1, steps=5))):
        model = unmask.models.build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,))
        for _ in unmask.Trainer(updates=200, objective=objective)(model, train):
            pass
        reports.append(unmask.audit(model, test.images[:100], test.labels[:100], epsilon=0.1, effort=unmask.QUICK))
    for change in unmask.compare(*reports):
        print(change)


if __name__ == "__main__":
    main()
