"""Models that answer and give no gradients: any function of numpy arrays, and ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.gradients import NoGradientError

Array = NDArray[Any]


class BlackBox(nn.Module):
    """A function of numpy arrays as a model; asking it for a gradient raises an error.

    Were the images merely handed over, their gradient would come back as zero, and the model would look robust.
    """

    def __init__(self, function: Callable[[Array], Any]) -> None:
        super().__init__()
        self.function = function
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (N, K), in the images' precision or a finer one.

        Raises:
            NoGradientError: the images ask for a gradient.
        """
        if images.requires_grad and torch.is_grad_enabled():
            raise NoGradientError("model: gives no gradients; expected an attack on scores alone, such as Square")
        scores = torch.as_tensor(np.asarray(self.function(images.detach().cpu().numpy())), device=images.device)
        return scores.to(torch.promote_types(scores.dtype, images.dtype))


def black_box(function: Callable[[Array], Any]) -> nn.Module:
    """Make a model of any function from images (N, C, H, W) in [0, 1] to scores (N, K), both numpy arrays.

    An audit runs on it what needs no gradient, and says what it could not run.

    Example:
        >>> from unmask.attacks import FGSM, Square
        >>> model = black_box(lambda images: images.reshape(len(images), -1))
        >>> images, labels = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> model(Square(epsilon=0.2)(model, images, labels)).argmax(1)
        tensor([1])
        >>> FGSM(epsilon=0.2)(model, images, labels)
        Traceback (most recent call last):
        unmask.gradients.NoGradientError: model: gives no gradients; expected an attack on scores alone, such as Square
    """
    return BlackBox(function)


def onnx(path: str | Path) -> nn.Module:
    """Load a classifier from an ONNX file, run by onnxruntime, as a black box.

    Its one input takes images (N, C, H, W) in [0, 1] in the precision that the file says; its first output of floats
    is taken for the scores. A file made for batches of a fixed size is fed such batches.

    Raises:
        ValueError: onnxruntime is not installed, the file cannot be read, or it has other inputs and outputs.

    Example:
        >>> onnx("nowhere.onnx")
        Traceback (most recent call last):
        ValueError: nowhere.onnx: no such file
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("onnxruntime: not installed; pip install 'unmask[onnx]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=onnxruntime.get_available_providers())
    except Exception as error:  # a damaged file can make the reader raise almost anything
        raise ValueError(f"{path}: expected an ONNX model, got {str(error).splitlines()[0]}") from error
    inputs = [one for one in session.get_inputs() if one.type in KINDS]
    outputs = [one for one in session.get_outputs() if one.type in KINDS]
    if len(session.get_inputs()) != 1 or not inputs or not outputs:
        raise ValueError(
            f"{path}: expected one input and an output of floats, got {[one.type for one in session.get_inputs()]} and "
            f"{[one.type for one in session.get_outputs()]}"
        )
    return BlackBox(_Session(session, inputs[0], outputs[0].name))


KINDS = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(double)": np.float64}
"""The types of ONNX that images and scores may have."""


class _Session:
    """An onnxruntime session as a function; a batch of another size than the file's is cut up and filled up."""

    def __init__(self, session: Any, taken: Any, given: str) -> None:
        self.session, self.taken, self.given = session, taken, given

    def __call__(self, images: Array) -> Array:
        size = self.taken.shape[0] if isinstance(self.taken.shape[0], int) else max(len(images), 1)
        images = images.astype(KINDS[self.taken.type])
        short = np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)
        batches = np.split(np.concatenate([images, short]), range(size, len(images) + len(short), size))
        answers = [self.session.run([self.given], {self.taken.name: batch})[0] for batch in batches]
        return np.concatenate(answers)[: len(images)]
