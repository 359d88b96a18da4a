"""Watch training with single steps, and go back to the last healthy weights when it begins to mask."""

import torch

import unmask
from unmask.training.objectives import Adversarial


def main() -> None:
    """Train on FGSM images of a large epsilon in a loop of one's own."""
    train = unmask.data.load("digits", "train")
    model = unmask.models.build("lenet+", inputs=(1, 8, 8), classes=10, width=8)
    objective = Adversarial(attack=unmask.attacks.FGSM(0.3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    watch = unmask.Watch(epsilon=0.3, images=train.images[:200], labels=train.labels[:200], every=25)
    for update in range(1, 401):
        batch = torch.randint(len(train), (64,), generator=torch.Generator().manual_seed(update))
        optimizer.zero_grad()
        objective(model, train.images[batch], train.labels[batch], step=update).backward()
        optimizer.step()
        if watch(model, update).masked:
            print(f"update {update}: {watch.masked}")
            print(f"went back to update {watch.restore(model)}")
            return
    print(f"no masking in {update} updates")


if __name__ == "__main__":
    main()
