"""The preflight of an audit: checks on the model and its images before anything is attacked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unmask.gradients import Detached, NoGradientError, input_gradient
from unmask.numerics import Batches, Model, derive_seed, drawn, out_of_memory, undisturbed
from unmask.threats import check_batch

SOME = 64
"""Images that are asked twice to see whether a model answers at random."""

FEW = 8
"""Images whose logits tell two models apart."""

ROUNDING = 1e-4
"""Logits that differ by less than this share of the largest of them differ by rounding."""


class LogProbabilities(nn.Module):
    """A classifier that returns probabilities, made to return their logarithms, which serve as logits.

    ``log max(p, tiny)``: softmax of it gives p back, so predictions are unchanged.

    Example:
        >>> model = LogProbabilities(lambda x: torch.tensor([[0.75, 0.25]]))
        >>> model(torch.zeros(1, 1, 1, 1)).softmax(1)
        tensor([[0.7500, 0.2500]])
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities (N, K)."""
        probabilities = self.model(images)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A model and its images as the audit will use them.

    Attributes:
        model: takes images to logits; ``images`` and ``labels`` are on the CPU, in the model's dtype.
        given: the model as it was handed over, which may return probabilities.
        classes: the number of classes; ``notes``: facts that a reader of the report must know.
        gradients: True where the model can be asked for them; they may still be useless.
        random: True where the same images get other logits when the model is asked again.
        answers: the logits of a few images, rounded: another model, or the same in another wrapper, gives others.
    """

    model: Model
    given: Model
    images: Tensor
    labels: Tensor
    classes: int
    notes: Sequence[str]
    gradients: bool = True
    random: bool = False
    answers: Sequence[Sequence[float]] = ()


def gather(images: Tensor | Iterable[tuple[Tensor, Tensor]], labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gather all images and labels on the CPU, from two tensors or from any iterable of batches.

    Raises:
        ValueError: there are none, or they are not images in [0, 1] with int64 labels.

    Example:
        >>> batch = (torch.rand(2, 1, 4, 4), torch.tensor([0, 1]))
        >>> gather([batch, batch], None)[0].shape
        torch.Size([4, 1, 4, 4])
    """
    if not isinstance(images, Tensor):
        pairs = [(x.detach().cpu(), y.cpu()) for x, y in images]
        if not pairs:
            raise ValueError("images: expected at least one batch, got none")
        images, labels = (torch.cat(column) for column in zip(*pairs, strict=True))
    elif labels is None:
        raise ValueError("labels: expected a tensor (N,) beside the images, got none")
    if not len(images):
        raise ValueError("images: expected at least one, got none")
    check_batch(images, labels)
    return images.detach().cpu(), labels.cpu()


def chosen(images: Tensor, count: int, seed: int) -> Tensor:
    """Return the rows of the images that an audit of so many looks at, by its seed.

    Example:
        >>> chosen(torch.rand(3, 1, 2, 2), 5, seed=0)
        tensor([0, 1, 2])
    """
    return drawn(images, count, seed=derive_seed(seed, "images"))


def preflight(
    model: Model, images: Tensor, labels: Tensor, *, batches: Batches | None = None, classes: int | None = None
) -> Audited:
    """Check a model before it is attacked: the shape and sanity of its logits, its mode and its precision.

    Probabilities are turned into logits, and said so; a model in training mode is audited in evaluation mode, and
    said so. A black box, which gives no gradients, is no error; nor is a model with an operation that has no backward
    pass, whose gradients count as zero.

    Args:
        classes: the number of classes in the data; unknown by default.

    Raises:
        ValueError: the model raises, or does not return one finite logit per class, or labels are not among its
            classes.
    """
    notes, batches = [], batches or Batches()
    if isinstance(model, nn.Module):
        if any(part.training for part in model.modules()):
            notes.append("The model was in training mode; it was audited in evaluation mode.")
        floating = (one.dtype for one in model.parameters() if one.is_floating_point())
        images = images.to(next(floating, images.dtype))
    (logits,) = batches(lambda x, y: _logits(model, x), images, labels)
    _check_logits(logits, labels, classes)
    failure = _failure_of_gradients(model, images[:1], labels[:1], batches)
    if isinstance(failure, str):
        model = Detached(model)
        notes.append(f"The model's backward pass fails ({failure}): attacks were given gradients of zero.")
    random = _answers_at_random(model, images[:SOME], batches)
    if random:
        notes.append(
            "The model answers at random: it is taken to decide by the mean of its probabilities over several draws."
        )
    given = model
    if _are_probabilities(logits):
        model = LogProbabilities(model)
        notes.append(
            "The model returns probabilities, not logits: their logarithms were audited in place of logits. Return "
            "logits, since softmax in float32 loses what attacks need."
        )
    return Audited(
        model=model,
        given=given,
        images=images,
        labels=labels,
        classes=logits.shape[1],
        notes=notes,
        gradients=failure is not True,
        random=random,
        answers=[[float(f"{one:.2g}") for one in row] for row in logits[:FEW].tolist()],
    )


def _check_logits(logits: Tensor, labels: Tensor, classes: int | None) -> None:
    """Refuse logits that are not finite or too few for the labels, and labels that name no class."""
    lowest, highest = (int(bound) for bound in labels.aminmax())
    wanted = highest + 1 if classes is None else classes
    if lowest < 0 or highest >= wanted:
        raise ValueError(f"labels: expected classes from 0 to {wanted - 1}, got {lowest} to {highest}")
    if logits.shape[1] < wanted or (classes is not None and logits.shape[1] != classes):
        raise ValueError(
            f"model: expected logits (N, {wanted}) for {wanted} classes, got (N, {logits.shape[1]}); if the data lack "
            "some of the classes, name them all (in an .npz as an array 'classes')"
        )
    if bad := int((~logits.isfinite().all(1)).sum()):
        kind = "NaN" if logits.isnan().any() else "infinite values"
        raise ValueError(f"model: expected finite logits, got {kind} on {bad} of {len(logits)} images")


def check_surrogate(surrogate: Model, images: Tensor, labels: Tensor, *, batches: Batches, classes: int) -> None:
    """Refuse a surrogate that attacks cannot be made on.

    Raises:
        ValueError: it raises, does not return as many logits as the model has classes, or gives no gradients.

    Example:
        >>> check_surrogate(nn.Flatten(), torch.rand(1, 1, 1, 3), torch.tensor([0]), batches=Batches(), classes=2)
        Traceback (most recent call last):
        ValueError: surrogate: expected logits (N, 2), as the model's, got (N, 3)
    """
    few, truth = images[:FEW], labels[:FEW]
    (logits,) = batches(lambda x, y: _logits(surrogate, x, name="surrogate"), few, truth)
    if logits.shape[1] != classes:
        raise ValueError(f"surrogate: expected logits (N, {classes}), as the model's, got (N, {logits.shape[1]})")
    if failure := _failure_of_gradients(surrogate, few, truth, batches, name="surrogate"):
        why = failure if isinstance(failure, str) else "it is cut off from its input"
        raise ValueError(f"surrogate: expected gradients, for attacks to be made on it; got none ({why})")


def _logits(model: Model, images: Tensor, seed: int = 0, name: str = "model") -> Tensor:
    try:
        with undisturbed(model, seed=seed), torch.no_grad():
            logits = model(images)
    except Exception as error:  # a user's model may raise anything
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise ValueError(f"{name}: raised {type(error).__name__} on images {tuple(images.shape)}: {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{name}: expected logits ({len(images)}, classes) for {len(images)} images, got {found}")
    return logits


def _failure_of_gradients(
    model: Model, images: Tensor, labels: Tensor, batches: Batches, name: str = "model"
) -> bool | str:
    """Return True where no gradient can be asked for, or the operation that has no backward pass; else False.

    Any other error is refused. A gradient may also be zero, which is no failure.
    """

    def ask(x: Tensor, y: Tensor) -> Tensor:
        with undisturbed(model):
            return input_gradient(model, x, y).gradient

    try:
        batches(ask, images, labels)
    except NoGradientError:
        return True
    except RuntimeError as error:
        if isinstance(error, NotImplementedError) or "not implemented" in str(error):
            return (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(f"{name}: raised {type(error).__name__} when asked for a gradient: {error}") from error
    return False


def _answers_at_random(model: Model, images: Tensor, batches: Batches) -> bool:
    """Return whether two passes with other random numbers differ by more than rounding."""

    def twice(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return _logits(model, x), _logits(model, x, seed=1)

    first, second = batches(twice, images, images)
    return bool(((first - second).abs().amax(1) > ROUNDING * first.abs().amax(1)).any())


def _are_probabilities(logits: Tensor) -> bool:
    """Return whether every row is a distribution; logits would be so by chance only."""
    sums = logits.double().sum(1)
    rounding = max(1e-3, logits.shape[1] * torch.finfo(logits.dtype).eps)
    return bool((logits >= 0).all() and (logits <= 1).all() and ((sums - 1).abs() < rounding).all())
