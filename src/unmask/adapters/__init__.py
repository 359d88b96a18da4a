"""Models and attacks of other libraries, which are loaded when they are first needed.

Models become modules from images in [0, 1] to logits: ``normalised``, ``timm``, ``hugging_face``; ``onnx`` and
``black_box`` give no gradients. Attacks become callables ``attack(model, images, labels) -> images``, for an audit's
``reference``: ``foolbox_attack``, ``torchattacks_attack``, ``art_attack``.
"""

from unmask.adapters.attacks import art_attack, foolbox_attack, torchattacks_attack
from unmask.adapters.black_box import black_box, onnx
from unmask.adapters.models import hugging_face, normalised, timm

__all__ = [
    "art_attack",
    "black_box",
    "foolbox_attack",
    "hugging_face",
    "normalised",
    "onnx",
    "timm",
    "torchattacks_attack",
]
