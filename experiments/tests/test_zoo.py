"""The zoo: pairs are exact where they claim it, truths come first and stay, and the score counts what it says."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from unmask_experiments.sweeps import identify, read_run
from unmask_experiments.zoo import floors, peers, truth
from unmask_experiments.zoo.audits import audit_pair
from unmask_experiments.zoo.cases import SCALES, Case, cases
from unmask_experiments.zoo.defences import DEFENCES
from unmask_experiments.zoo.expected import BY_DEFENCE, acceptable
from unmask_experiments.zoo.linear import worst_margin
from unmask_experiments.zoo.networks import METHODS, PASSES, WITHIN, Network, audited_images, untrained
from unmask_experiments.zoo.scores import peers_table, rows, score_summary
from unmask_experiments.zoo.stages import report, run_zoo
from unmask_experiments.zoo.truth import EDGE, check_exact, comparisons, establish_truth, rule
from unmask_experiments.zoo.worst_case import ResultCache, as_flags, standing, strongest
from unmask_experiments.zoo_page import section

from unmask.attacks import FGSM
from unmask.auditing.probes.sweep import unchanged
from unmask.cli import main
from unmask.gradients import input_gradient
from unmask.models import build
from unmask.models.masked import InputNoise, SoftmaxOutput, ZeroBackward
from unmask.numerics import undisturbed
from unmask.statistics import paired_gain

# Networks that learn in a moment, on few images, with little spent on their truth.
BRIEF = {"data": "digits", "images": 150, "steps": 3, "restarts": 1, "queries": 20}
LINEAR = Case(**BRIEF, network="linear", updates=100, learning_rate=0.02, epsilon=0.05)
PERCEPTRON = Case(**BRIEF, network="mlp", size=32, updates=100, learning_rate=0.01, epsilon=0.1)
FEW = [
    LINEAR,
    replace(LINEAR, defence="plus 1e6"),
    replace(LINEAR, defence="256 levels"),
    replace(PERCEPTRON, defence="zero backward"),
    replace(PERCEPTRON, defence="noise"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A small zoo that has been run."""
    place = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "STEPS", (4, 6))
        run_zoo(FEW, folder=place / "results" / "zoo", work=place / "work")
    return place


@pytest.fixture
def folder(places):
    return places / "results" / "zoo"


def network(within=""):
    return untrained(Network(data="digits", size=4, within=within), seed=0).eval()


def trained_within(name):
    """A network with the defence in it, for those defences that are not wrapped around one."""
    return network({"trained noise": "noise"}.get(name, name if name in WITHIN else ""))


def noise(count=24, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


# --- the list


@pytest.mark.parametrize("data", SCALES)
def test_the_zoo_is_large_and_has_every_kind(data):
    zoo = cases(data)
    assert len({identify(case) for case in zoo}) == len({case.name for case in zoo}) == len(zoo) >= 40
    kinds = [case.kind for case in zoo if case.seed == 0]
    assert set(kinds) == {"exact", "sandwiched", "published", "not masked"}
    assert kinds.count("not masked") >= 10
    assert {case.defence for case in zoo} == set(DEFENCES)
    assert {case.method for case in zoo} == set(METHODS) >= set(PASSES)
    assert {case.within for case in zoo} == set(WITHIN)
    assert all(case.data == data and case.images for case in zoo)


def test_every_pair_has_causes_that_count_as_right():
    assert set(BY_DEFENCE) | {""} == set(DEFENCES)
    assert all(acceptable(case) for case in cases("mnist", seeds=1) if case.kind != "not masked")


# --- what is known by construction


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if one.truth == "exact"])
@pytest.mark.parametrize("large", [1.0, 40.0])
def test_an_exact_pair_decides_as_its_network(name, large):
    base = nn.Sequential(network(), Times(large)).eval()
    model, data = Case(defence=name).published(base), audited_images("digits", 50)
    for images in (noise(200), data.images):
        assert torch.equal(model(images).argmax(1), base(images).argmax(1))
    check_exact(Case(data="digits", defence=name), model, base, data, FGSM(epsilon=0.1))


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return self.factor * logits


def test_a_pair_that_claims_to_be_exact_and_is_not_is_refused():
    other = untrained(Network(data="digits", size=4), seed=1).eval()
    with pytest.raises(ValueError, match=r"expected its network's own decisions, got others on \d+ of 50"):
        check_exact(Case(), other, network(), audited_images("digits", 50), unchanged)


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if not one.random])
def test_a_stand_in_decides_alike_and_has_a_gradient(name):
    base, images = trained_within(name), noise()
    case, labels = Case(defence=name), torch.arange(24) % 10
    proxy = case.proxy(base)
    gradient = input_gradient(proxy, images, labels).gradient
    assert (gradient != 0).flatten(1).any(1).all()
    assert proxy is base or torch.allclose(proxy(images), case.published(base)(images), atol=1e-4)


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if one.random])
def test_a_randomised_stand_in_varies_less(name):
    base, images = trained_within(name), noise()
    spread = []
    for model in (Case(defence=name).published(base), Case(defence=name).proxy(base)):
        with undisturbed(model), torch.no_grad():
            spread.append(torch.stack([model(images).softmax(1) for _ in range(20)]).std(0).mean())
    assert 0 < spread[1] < spread[0] / 2


def test_the_closed_form_is_what_no_corner_beats():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    labels, epsilon = torch.arange(8) % 3, 0.2
    signs = torch.tensor([[1.0 if (row >> bit) & 1 else -1.0 for bit in range(4)] for row in range(16)])
    corners = (images[:, None] + epsilon * signs.view(16, 1, 2, 2)).clamp(0, 1)
    logits = model(corners.flatten(0, 1)).double().view(8, 16, 3)
    true = logits.gather(2, labels.view(8, 1, 1).expand(8, 16, 1))
    rivals = logits.scatter(2, labels.view(8, 1, 1).expand(8, 16, 1), -torch.inf)
    expected = (rivals - true).amax((1, 2))
    assert torch.allclose(worst_margin(model, images, labels, epsilon), expected.detach(), atol=1e-6)


def test_the_closed_form_wants_a_linear_model():
    with pytest.raises(ValueError, match="model: expected one linear layer, got Conv2d"):
        worst_margin(network(), noise(), torch.zeros(24, dtype=torch.int64), 0.1)


# --- the rule


@pytest.mark.parametrize(
    ("won", "right", "answer"),
    [(40, 200, "masked"), (0, 200, "not masked"), (6, 200, "excluded"), (40, 22, "excluded")],
)
def test_the_rule(won, right, answer):
    gain = paired_gain([True] * 200, [False] * won + [True] * (200 - won))
    nothing = paired_gain([True] * 200, [True] * 200)
    assert rule({"one step": nothing, "many steps": gain}, right=right, total=200)[0] == answer
    assert (gain.low > EDGE) == (won == 40)


@pytest.mark.parametrize(("found", "answer"), [(0.1, "masked"), (0.3, "excluded"), (0.4, "not masked")])
def test_a_collapse_is_masking_where_the_claim_found_few_of_the_errors(found, answer):
    gain, nothing = (paired_gain([True] * 200, [False] * won + [True] * (200 - won)) for won in (80, 0))
    assert rule({"one step": nothing, "collapse": gain}, right=200, total=200, found=found)[0] == answer


@pytest.mark.parametrize("defence", ["", "zero backward", "noise", "k winners"])
def test_both_sides_of_a_comparison_get_as_many_passes(defence, monkeypatch):
    """On a model that nothing fools, so that no attack may stop early."""
    monkeypatch.setattr(truth, "STEPS", (10, 20))
    case, images, labels = Case(defence=defence), noise(2), torch.zeros(2, dtype=torch.int64)
    counts = []
    for side in (0, 1):
        counted = Counted()
        model, proxy = counted, DEFENCES[""].proxy(counted)
        if DEFENCES[defence].passes > 1:
            proxy = Case(defence="k winners").proxy(counted)
        for name, pair in comparisons(case, model, proxy).items():
            before = counted.passes
            for attack in ([case.attack(), *pair[0]], pair[1])[side]:
                attack(model, images, labels)
            counts.append((name, (counted.passes - before) / len(images)))
    half = len(counts) // 2
    for (name, unrepaired), (_, repaired) in zip(counts[:half], counts[half:], strict=True):
        if name != "queries":  # a look without a gradient counts half
            assert unrepaired >= 0.9 * repaired
        else:
            assert unrepaired >= 0.9 * repaired / 2


class Counted(nn.Module):
    """Right whatever the image, with a gradient."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, images):
        self.passes += len(images)
        flat = images.flatten(1)[:, :10]
        return flat + 100 * nn.functional.one_hot(torch.zeros(len(flat), dtype=torch.int64), 10)


# --- the stages


def test_a_truth_comes_before_its_audit_and_is_named_by_it(folder):
    for case in FEW:
        told = read_run(folder / "truth" / f"{identify(case)}.json")
        if told["result"]["truth"] == "excluded":
            assert not (folder / "audits" / f"{identify(case)}.json").exists()
            continue
        audit = read_run(folder / "audits" / f"{identify(case)}.json")
        assert audit["result"]["truth"] == told["digest"]
        assert audit["finished"] >= told["finished"]


def test_worst_cases_respect_what_is_known(folder):
    exact, plus, rounded, zero, _ = (read_run(folder / "truth" / f"{identify(case)}.json")["result"] for case in FEW)
    undefended = read_run(folder / "floors" / f"{identify(FEW[3].floor)}.json")["result"]
    assert exact["bounds"][0] == exact["bounds"][1] == sum(as_flags(exact["worst"])) / 150
    for result in (plus, rounded):
        assert result["bounds"][0] <= sum(as_flags(result["worst"])) / 150
        assert result["bounds"][0] <= exact["bounds"][0] <= result["bounds"][1]
    assert not any(
        own and not base for own, base in zip(*map(as_flags, (zero["worst"], undefended["worst"])), strict=True)
    )
    assert zero["truth"] == "masked"


def test_what_is_done_is_not_done_again(places, folder, monkeypatch):
    paths = sorted(folder.rglob("*.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    run_zoo(FEW, folder=folder, work=places / "work")
    assert sorted(folder.rglob("*.json")) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_truth_that_was_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    data, model, run = audited_images("digits", 60), build("linear", inputs=(1, 8, 8), classes=10), []

    def attack(name, fails=False):
        def call(model, images, labels):
            run.append((name, len(images)))
            if fails:
                raise KeyboardInterrupt
            return FGSM(epsilon=0.02)(model, images, labels)

        return call

    def look(*attacks, weights="a"):
        return standing(model, attacks, data, cache=ResultCache(tmp_path / "notes.json", weights=weights), stage="some")

    whole = look(attack("first"), attack("second"), weights="b")
    run.clear()
    with pytest.raises(KeyboardInterrupt):
        look(attack("first"), attack("second", fails=True))
    run.clear()
    assert look(attack("first"), attack("second")).tolist() == whole.tolist()
    assert run == [("second", int(look(attack("first")).sum()))]
    look(attack("first"), weights="c")
    assert run[1:] == [("first", 60)]
    monkeypatch.setattr(floors, "CODE", ("losses.py",))
    look(attack("first"), weights="c")
    assert run[2:] == [("first", 60)]


def test_a_truth_is_refused_where_there_is_an_audit(places, folder):
    with pytest.raises(ValueError, match=r"expected no audit before the truth of linear, seed 0 is known"):
        establish_truth(LINEAR, work=places / "work" / "truth" / "x", folder=folder)


def test_an_audit_is_refused_without_a_truth(places, folder):
    unknown = replace(LINEAR, seed=7)
    with pytest.raises(ValueError, match=r"expected the truth of linear, seed 7 before its audit, found none"):
        audit_pair(unknown, work=places / "work" / "audits" / "x", folder=folder)


@pytest.fixture
def copied(folder, tmp_path):
    """The records, to be spoilt."""
    for path in folder.rglob("*.json"):
        place = tmp_path / path.relative_to(folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path


def test_an_edited_truth_is_refused(copied):
    path = copied / "truth" / f"{identify(LINEAR)}.json"
    path.write_text(path.read_text().replace('"not masked"', '"masked"'))
    with pytest.raises(ValueError, match=re.escape(f"{path}: its content has the digest")):
        rows(FEW, copied)


def test_an_audit_of_another_truth_is_refused(copied):
    """As when a truth was established anew, after its audit."""
    path = copied / "truth" / f"{identify(LINEAR)}.json"
    record = read_run(path)
    from unmask_experiments.sweeps.runs import write_run

    write_run(copied / "truth", LINEAR, {"error": None, "result": record["result"], "seconds": 0.0})
    with pytest.raises(ValueError, match="expected the audit of a pair with another truth"):
        rows(FEW, copied)


def test_weights_that_changed_are_refused(places, folder, tmp_path):
    work = tmp_path / "networks" / "x"
    with pytest.raises(ValueError, match=r"expected the weights \w+ of its truth, got \w+"):
        audit_pair(replace(LINEAR, updates=100), work=spoilt(work, tmp_path), folder=folder)


def spoilt(work, root):
    """A work folder in which the same network was trained otherwise."""
    from unmask_experiments.zoo.networks import network_of, train

    train(replace(network_of(LINEAR), updates=3), work=root / "networks" / identify(network_of(LINEAR)))
    return work


# --- the score


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


def test_the_score_is_written_and_shown(places):
    score = report("digits", FEW, results=places / "results", command="unmask zoo")
    written = json.loads((places / "results" / "zoo.json").read_text())["digits"]
    assert written["summary"] == score["summary"]
    assert "### digits" in (places / "results" / "README.md").read_text()


# --- the peers


@pytest.mark.parametrize(
    ("model", "flag"),
    [
        (lambda base: base, None),
        (SoftmaxOutput, "probabilities"),
        (ZeroBackward, "zero gradient"),
        (lambda base: InputNoise(base, 0.5), "randomised"),
    ],
)
def test_each_flag_is_raised_where_it_belongs(model, flag, perceptron):
    base, data = perceptron, audited_images("digits", 20)
    with undisturbed(base):
        raised = {
            "randomised": peers.randomised(model(base), data.images),
            "probabilities": peers.probabilities(model(base), data.images),
            "zero gradient": peers.zero_gradient(model(base), data, 0.1, 0),
        }
    assert [name for name, up in raised.items() if up] == ([flag] if flag else [])


def test_a_search_wins_where_gradients_are_gone(perceptron, monkeypatch):
    monkeypatch.setattr(peers, "QUERIES", 100)
    case, data = Case(epsilon=0.2), audited_images("digits", 40)
    assert peers.search_wins(case, ZeroBackward(perceptron), data)
    assert not peers.search_wins(case, perceptron, data)


def test_the_attacks_behind_a_truth_are_those_of_the_stand_in():
    calls = []

    def proxy(images):
        calls.append(len(images))
        return images.flatten(1)[:, :10]

    case = replace(LINEAR, steps=2, queries=3)
    images, labels = noise(2), torch.tensor([0, 1])
    for attack in strongest(case, proxy, search=False):
        attack(None, images, labels)
    assert calls


# --- the command


def test_the_command_lists_the_zoo():
    shown = CliRunner().invoke(main, ["zoo", "--list", "--seeds", "1", "--only", "squashed"])
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "exact        cnn, squashed, seed 0, epsilon 0.1"


def test_the_command_refuses_an_unknown_name():
    shown = CliRunner().invoke(main, ["zoo", "--only", "unicorn"])
    assert shown.exit_code == 2
    assert "only: expected a part of one of these names: linear; cnn;" in shown.output
