"""Audit a function of numpy arrays, which gives scores and no gradients."""

import numpy as np

import unmask


def main() -> None:
    """Classify digits by the nearest mean image of a class, in numpy, and audit that."""
    train, test = (unmask.data.load("digits", split) for split in ("train", "test"))
    pixels, labels = train.images.flatten(1).numpy(), train.labels.numpy()
    means = np.stack([pixels[labels == label].mean(0) for label in range(10)])

    def scores(images: np.ndarray) -> np.ndarray:
        """Return minus the squared distance to the mean image of each class."""
        return -((images.reshape(len(images), 1, -1) - means) ** 2).sum(2)

    model = unmask.adapters.black_box(scores)
    report = unmask.audit(model, test.images[:60], test.labels[:60], epsilon=0.2, effort=unmask.QUICK)
    print(f"{report.verdict}: robust accuracy at most {report.robust_accuracy:.2f}")
    print(f"not run: {', '.join(report.not_run)}")


if __name__ == "__main__":
    main()
