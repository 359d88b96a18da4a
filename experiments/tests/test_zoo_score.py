"""The zoo's score and its page, from rows made by hand."""

from __future__ import annotations

import json

from unmask_experiments.zoo import peers
from unmask_experiments.zoo.scores import peers_table, score_summary
from unmask_experiments.zoo_page import section


def row(truth, verdict, *, causes=(), label="a", seed=0, **settings):
    known = {"float32 saturation"}
    return {
        "name": f"{label}, seed {seed}", "label": label, "seed": seed, "truth": truth, "verdict": verdict,
        "right": truth == verdict,
        "causes": list(causes), "cause right": bool(causes) and causes[0] in known if truth == "masked" else None,
        "acceptable": sorted(known), "trained": "normal", "defended": False, "seconds": 2.0, "how": "exact",
        "worst": 0.1, "robust": 0.15, "claimed": 0.9, "bounds": None, "epsilon": 0.1, "because": "b", "reason": "r",
        "remark": None, **settings,
    }  # fmt: skip


ROWS = [
    row("masked", "masked", causes=["float32 saturation"]),
    row("masked", "masked", causes=["vanishing gradients"]),
    row("masked", "not masked"),
    row("masked", "inconclusive"),
    row("not masked", "masked", causes=["float32 saturation"], trained="pgd", label="p"),
    row("not masked", "not masked", label="q", seed=1, remark="Odd."),
    {"name": "e", "label": "e", "truth": "excluded", "because": "b", "remark": None},
]


def test_rates():
    rates = score_summary(ROWS)["rates"]
    counted = {name: (one["count"], one["total"]) for name, one in rates.items()}
    assert counted == {
        "verdict right": (3, 6),
        "verdict right, after the first seed": (1, 1),
        "false alarms": (1, 2),
        "false alarms, trained with PGD or the logit distance": (1, 1),
        "misses": (1, 4),
        "inconclusive": (1, 6),
        "first cause right": (1, 4),
        "first cause right, where called masked": (1, 2),
    }
    assert (rates["verdict right"]["low"], rates["verdict right"]["high"]) == (0.1876, 0.8124)  # Wilson's
    assert score_summary(ROWS)["audit minus truth, exact, points"]["median"] == 5.0


def test_the_page_names_every_miss_and_every_pair_left_out(tmp_path):
    flags = dict.fromkeys(peers.FLAGS, True) | {peers.FLAGS[-1]: None}
    told = [*ROWS, row("masked", "masked", causes=["float32 saturation"], label="f", flags=flags)]
    zoo = {
        "command": "c",
        "learned": "It has learned.",
        "not run": ["n, seed 0", "n, seed 1"],
        "summary": score_summary(told),
        "rows": told,
        "peers": peers_table(told),
    }
    (tmp_path / "zoo.json").write_text(json.dumps({"digits": zoo}))
    text = "\n".join(section(tmp_path))
    assert text.count("- **a, seed 0** (epsilon 0.1): masked (b), called") == 2
    assert "- **p, seed 0** (epsilon 0.1): not masked (b), called masked for float32 saturation" in text
    assert "- **a, seed 0**: vanishing gradients; expected float32 saturation." in text
    assert "- e: b." in text
    assert "Not run: n, seed 0; n, seed 1." in text
    assert "- **q, seed 1**: Odd." in text
    assert "It has learned." in text
    assert "| f | masked | 1 | 1 | 1 | 1 | 1 | - | 1 |" in text
