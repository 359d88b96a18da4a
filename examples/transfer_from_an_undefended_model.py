"""Attack the classifier without its defence, and try the images on the defended one."""

import unmask
from unmask.models.masked import ZeroBackward


def main() -> None:
    """Transfer attacks from a network to the same network with its gradient hidden."""
    train, test = (unmask.data.load("digits", split) for split in ("train", "test"))
    undefended = unmask.models.build("mlp", inputs=(1, 8, 8), classes=10, widths=(32,))
    for _ in unmask.Trainer(updates=150)(undefended, train):
        pass
    model, images, labels = ZeroBackward(undefended), test.images[:60], test.labels[:60]
    direct = unmask.attacks.PGD(0.1, steps=10)
    transferred = unmask.attacks.Transfer(attack=direct, proxy=undefended)
    for name, attack in (("direct", direct), ("transferred", transferred)):
        right = unmask.evaluate(model, images, labels, attack).correct
        print(f"{name}: accuracy {right.double().mean():.2f}")
    report = unmask.audit(model, images, labels, epsilon=0.1, surrogate=undefended, effort=unmask.QUICK)
    print(f"{report.verdict}: {', '.join(report.causes)}")


if __name__ == "__main__":
    main()
