"""The figures and statements of Yue 2017, and what is published of them."""

from __future__ import annotations

from unmask_experiments.artefact import Artefact, Panel
from unmask_experiments.yue2017 import late, outcomes
from unmask_experiments.yue2017.curves import of
from unmask_experiments.yue2017.runs import widths

ABOVE = "above 0"


def _panel(title: str, xlabel: str, ylabel: str = "accuracy, %", series: str = "", logy: bool = False) -> Panel:
    return Panel(title=title, xlabel=xlabel, ylabel=ylabel, series=series, yscale="log" if logy else "linear")


ARTEFACTS = (
    Artefact(
        name="fig1", shows="a digit, its FGSM image at epsilon 0.1, both predictions",
        published={"label": 2, "read as, clean": 2, "read as, FGSM": 1}, needs=of("plain"), compute=outcomes.fig1,
    ),
    Artefact(
        name="fig2", shows="training and validation loss by epoch", published={"overfits from epoch": 25},
        needs=of("plain", "batch 500"), compute=outcomes.fig2,
        panels=[
            _panel(name, "epoch", "cross entropy, nats", series=f"{name}:", logy=True)
            for name in ("batch 100", "batch 500")
        ],
    ),
    Artefact(
        name="fig3", shows="accuracy against epsilon, plain", published={"accuracy, epsilon 0": 98.0},
        needs=of("plain"), compute=outcomes.fig3, panels=[_panel("plain network", "epsilon")],
    ),
    Artefact(
        name="fig4", shows="accuracy on perturbed inputs by epoch, while overfitting",
        published={"fall from the lowest validation loss to the lowest point": "falls"},
        needs=of("plain", "batch 500"), compute=outcomes.fig4,
        panels=[_panel(name, "epoch", series=f"{name}:") for name in ("batch 100", "batch 500")],
    ),
    Artefact(
        name="fig5", shows="accuracy against epsilon, plain beside L2",
        published={"L2 minus plain, epsilon 0.1": "clearly above 0"},
        needs=of("plain", "L2"), compute=outcomes.fig5, panels=[_panel("plain and L2", "epsilon")],
    ),
    Artefact(
        name="fig6", shows="accuracy on perturbed inputs by epoch, for longer",
        published={"late rise, epsilon 0.1": "rises", "lowest at epoch": 50},
        needs=of("plain", "batch 500"), compute=late.fig6,
        panels=[
            _panel("batch 100", "epoch", series="plain:"),
            _panel("batch 500", "epoch", series="batch 500:"),
        ],
    ),
    Artefact(
        name="fig6-sgd", shows="figure 6 with SGD", published={"late rise, SGD 0.1": "rises, less than with Adam"},
        needs=of("plain", "SGD 0.1", "SGD 0.01"), compute=late.fig6_sgd,
        panels=[_panel(name, "epoch", series=f"{name}:") for name in ("SGD 0.1", "SGD 0.01")],
    ),
    Artefact(
        name="fig7", shows="spectral norm of each layer's weights by epoch",
        published={f"layer {row}, last over first epoch": "above 1" for row in (1, 2, 3)},
        needs=of("plain"), compute=late.fig7, panels=[_panel("weights", "epoch", "spectral norm")],
    ),
    Artefact(
        name="fig8", shows="zero components of the input gradients by epoch",
        published={
            "rise of the zeros per image": "rises",
            "rank correlation with accuracy, epsilon 0.1": "text: inverse; caption: highly correlated",
        },
        needs=of("plain"), compute=late.fig8, panels=[_panel("FGSM's gradients", "epoch", "zeros per image")],
    ),
    Artefact(
        name="float64", shows="accuracy and zeros by epoch in float64", published={"late rise, float64": "disappears"},
        needs=of("plain", "float64", "batch 500, float64"), compute=late.float64,
        panels=[
            _panel("trained and attacked in float64", "epoch", series="float64:"),
            _panel("the same, batch 500", "epoch", series="batch 500, float64:"),
            _panel("the float32 network, epsilon 0.1", "epoch", series="recast:"),
            _panel("zeros", "epoch", "zeros per image", series="zeros:"),
        ],
    ),
    Artefact(
        name="fig9", shows="random +-1 where the gradient is 0", published={"largest difference in accuracy": 0},
        needs=of("plain"), compute=late.fig9, panels=[_panel("last epoch", "epsilon")],
    ),
    Artefact(
        name="fig10", shows="accuracy against epsilon: adversarial training, L2, plain",
        published={
            "adversarial training minus plain, epsilon 0.1": ABOVE,
            "adversarial training minus L2, epsilon 0.1": ABOVE,
        },
        needs=of("plain", "L2", "adversarial training"), compute=outcomes.fig10,
        panels=[_panel("lowest validation loss", "epsilon")],
    ),
    Artefact(
        name="sec7", shows="accuracy against epsilon by width and depth", published={},
        needs=lambda profile: [profile, *widths(profile)], compute=outcomes.sec7,
        panels=[_panel("width and depth", "epsilon")],
    ),
    Artefact(
        name="fig12", shows="the float64 twin's attack on the float32 network",
        published={"transfer gap, epsilon 0.1": "hides the difference"},
        needs=of("plain", "float64"), compute=late.fig12, panels=[_panel("float32 network, last epoch", "epsilon")],
    ),
)  # fmt: skip
