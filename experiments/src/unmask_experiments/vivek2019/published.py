"""The published tables of Vivek et al. 2019, by ``"row column"``, in per cent or seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COLUMNS = {
    "mnist": {"clean": "clean", "fgsm": "fgsm", "ifgsm40": "ifgsm", "pgd40": "pgd", "pgd100": "longer pgd"},
    "cifar10": {"clean": "clean", "fgsm": "fgsm", "ifgsm7": "ifgsm", "pgd7": "pgd", "pgd20": "longer pgd"},
}
"""The columns of tables 3 and 4, and their names in an evaluation."""

TABLE_3 = {
    "normal": (99.24, 11.65, 0.31, 0.01, 0.00),
    "fgsm": (99.34, 89.04, 1.19, 0.17, 0.01),
    "rfgsm": (93.92, 57.06, 41.85, 29.31, 28.76),
    "eat_a": (99.35, 83.48, 18.75, 10.13, 3.41),
    "eat_b": (99.31, 80.16, 48.13, 37.85, 22.86),
    "eat_c": (99.20, 82.48, 4.00, 1.29, 0.08),
    "eat_d": (97.66, 56.85, 0.87, 0.29, 0.08),
    "rfgsm_fgsm": (95.39, 61.60, 44.62, 34.15, 33.41),
    "lambda0": (97.62, 92.52, 4.92, 1.89, 0.17),
    "pgd": (98.41, 95.56, 92.64, 92.08, 91.13),
    "proposed": (98.74, 95.1, 89.91, 89.48, 87.74),
}
TABLE_4 = {
    "normal": (91.52, 14.00, 0.00, 0.00, 0.00),
    "fgsm": (92.42, 98.58, 0.09, 0.05, 0.00),
    "rfgsm": (79.39, 98.64, 0.35, 0.22, 0.02),
    "eat_a": (90.80, 82.14, 10.56, 4.69, 0.67),
    "eat_b": (90.43, 60.59, 32.76, 28.9, 18.31),
    "eat_c": (90.28, 66.49, 36.49, 29.41, 20.24),
    "rfgsm_fgsm": (80.88, 97.92, 2.18, 1.16, 0.22),
    "lambda0": (77.00, 98.96, 0.21, 0.06, 0.01),
    "pgd": (79.44, 53.25, 50.53, 50.08, 47.51),
    "proposed": (80.45, 53.14, 49.83, 49.13, 46.07),
}
TABLE_5 = {
    "lenet-a pgd": 93.70,
    "lenet-a proposed": 93.53,
    "lenet-b-strided pgd": 93.57,
    "lenet-b-strided proposed": 93.25,
}
TABLE_6 = {"vgg-11 pgd": 76.09, "vgg-11 proposed": 76.81, "vgg-19 pgd": 77.24, "vgg-19 proposed": 77.92}
TABLE_7 = {
    "MNIST": {"normal": 2.7, "fgsm_only": 4.1, "eat": 5.5, "pgd": 53.0, "proposed": 8.8},
    "CIFAR-10": {"normal": 31.0, "fgsm_only": 53.0, "eat": 59.0, "pgd": 238.0, "proposed": 108.0},
}
"""Seconds per pass on a Titan Xp."""

LAYERS = {
    "lenet+": (32, 64, 1024, 10),
    "lenet-a": (64, 64, 128, 10),
    "lenet-b": (64, 128, 128, 10),
    "lenet-c": (128, 64, 128, 10),
    "lenet-d": (300, 300, 300, 300, 10),
}
"""Table 1: channels or units of each layer."""


def cells(table: Mapping[str, Sequence[float]], columns: Sequence[str]) -> dict[str, float]:
    """A table by ``"row column"``.

    Example:
        >>> cells({"pgd": (98.41, 95.56)}, ("clean", "fgsm"))
        {'pgd clean': 98.41, 'pgd fgsm': 95.56}
    """
    return {
        f"{row} {column}": value for row, values in table.items() for column, value in zip(columns, values, strict=True)
    }
