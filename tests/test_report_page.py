"""The page: it says what the record holds, needs nothing else, and users' names stay text in it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib
import pytest

from records import SATURATION, inconclusive, masked, not_masked, share, surface
from unmask.reports import answer
from unmask.reports.page import render_page
from unmask.reports.record import AuditRecord, Verdict, revive

VOID = {"meta", "link", "img"}  # "image", inside a drawing, closes itself


class Outline(HTMLParser):
    """The elements of a page with their attributes, its text, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]

    @property
    def skeleton(self) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in self.elements if tag != "g"]


def words_of(page: str) -> str:
    return " ".join(Outline(page).text.split())


def all_three() -> list[AuditRecord]:
    return [masked(), not_masked(), inconclusive()]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(all_three(), title="Three models")


def test_the_page_says_everything_the_record_holds() -> None:
    record = masked()
    said = words_of(render_page([record], title="One model")).replace("\N{NO-BREAK SPACE}", " ")
    parts = [answer(record).partition(": ")[2], record.decision.reason, record.model_name, *record.notes]
    for finding in record.findings:
        parts += [finding.name, finding.symptom]
    parts += [SATURATION.remedy, SATURATION.control, SATURATION.advice, "59.7 points (55.2 to 63.9), p < 0.001"]
    parts += ["62.6 % under the control → 2.9 % under the remedy", "the remedy alone breaks 597, the control alone 0"]
    parts += [text for attack in record.attacks for text in (attack.name, attack.settings, str(attack.accuracy))]
    parts += [text for pair in record.environment.items() for text in pair]
    parts += ["epsilon=0.25, seed=0", "withstood every attack", "found by PGD"]
    for part in parts:
        assert part in said


def test_the_answer_comes_first_and_the_picture_before_the_details(page: str) -> None:
    order = [
        page.index(mark) for mark in ('class="answers"', "<svg", 'id="comparison"', 'id="model-1"', 'id="model-3"')
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("reference", ["PGD", "PGD: 40 steps"])
def test_the_reference_attack_is_marked(reference: str) -> None:
    said = words_of(render_page([replace(inconclusive(), reference=reference)], title="One model"))
    assert said.count("PGD (reference)") == 1


def test_one_model_needs_no_comparison() -> None:
    assert 'id="comparison"' not in render_page([masked()], title="One model")


def test_the_numbers_of_every_picture_can_be_reached() -> None:
    said = words_of(render_page([masked()], title="One model")).replace("\N{NO-BREAK SPACE}", " ")
    for curve in masked().curves:
        for x, y in zip(curve.x, curve.y, strict=True):
            assert f"{curve.name} {x:.4g} {100 * y:.1f} %".replace(" ", "") in said.replace(" ", "")
    histogram = masked().histograms[0]
    row = f"{histogram.edges[10]:.4g}{histogram.edges[11]:.4g}{histogram.counts[10]}"
    assert row in said.replace(" ", "")
    assert "log-oddsmargin1000-4.163.05130.2" in said.replace(" ", "")
    for one in masked().surfaces:
        for step, line in zip(one.gradient, one.loss, strict=True):
            assert "".join(f"{value:.4g}" for value in [step, *line]) in said.replace(" ", "")


def test_the_numbers_of_the_curves_of_all_models_can_be_reached(page: str) -> None:
    said = "".join(words_of(page).split())
    assert "LeNet+,trainedwithPGD" + "0.3" + "87.0%" + "87.0%" in said
    assert "LeNet+,trainedwithFGSM" + "0.25" + "0.3%" + "62.6%" in said


def test_what_was_not_tried_is_said() -> None:
    said = words_of(render_page([masked()], title="One model"))
    assert "vanishing gradientsmasking0.020.1nonot tried: no symptomnot tried: no symptom" in said
    untried = replace(SATURATION, name="a bare symptom", before=[], after=[])
    said = words_of(render_page([replace(masked(), findings=[*masked().findings, untried])], title="One model"))
    assert "Its remedy was not tried." in said


def test_the_page_requests_nothing_and_runs_one_script_of_its_own(page: str) -> None:
    outline = Outline(page)
    links = outline.values("src") + outline.values("href")
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not {"iframe", "object", "embed", "form", "base"} & {tag for tag, _ in outline.elements}
    assert not [name for _, attributes in outline.elements for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    (script,) = re.findall("<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:" in page


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page: str) -> None:
    outline = Outline(page)
    ids = outline.values("id")
    assert outline.open == []
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in outline.values("href") if link.startswith("#")] + outline.values("aria-labelledby")
    targets += re.findall(r"url\(#([^)]+)\)", page)
    assert set(targets) <= set(ids)


def test_every_picture_has_a_text_alternative(page: str) -> None:
    elements = Outline(page).elements
    images = [attributes["alt"] for tag, attributes in elements if tag == "img"]
    drawings = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(images) == 9
    assert len(drawings) == 2 + 4 + 2 + 1
    assert all(images)
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)


def test_headings_descend_one_level_at_a_time(page: str) -> None:
    levels = [int(tag[1]) for tag, _ in Outline(page).elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_whatever_scrolls_can_be_reached_from_the_keyboard(page: str) -> None:
    scrolling = [attributes for _, attributes in Outline(page).elements if attributes.get("class") == "scroll"]
    assert scrolling
    assert all(attributes["tabindex"] == "0" for attributes in scrolling)


def test_equal_records_give_equal_pages_whatever_matplotlib_is_set_to(page: str) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None, "text.usetex": True}):
        assert render_page(all_three(), title="Three models") == page


def test_rendering_leaves_matplotlibs_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 17}):
        render_page([inconclusive()], title="One model")
        assert matplotlib.rcParams["font.size"] == 17


def test_the_same_model_twice_gets_ids_of_its_own() -> None:
    ids = Outline(render_page([masked(), masked()], title="Twice")).values("id")
    assert len(ids) == len(set(ids))


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onload='alert(1)",
    r"</title></style></svg><b>]]><!-- {{ 7 * 7 }} {% raw %} $\frac{1}{$ & _x",
]


def poison(value: object, payload: str, key: str = "") -> object:
    """The same record with the payload in every string and every name, except where it would be another record."""
    if isinstance(value, dict):
        keep = key in ("", *RECORDS)
        return {(name if keep else name + payload): poison(one, payload, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [poison(one, payload, key if isinstance(one, dict) else "item") for one in value]
    return value + payload if isinstance(value, str) and key not in ("answer", "clean", "adversarial") else value


RECORDS = (
    "clean", "claimed", "robust", "decision", "findings", "attacks", "accuracy", "curves", "histograms", "examples",
    "causes", "weaknesses", "surfaces",
)  # fmt: skip


@pytest.mark.parametrize("payload", HOSTILE)
def test_names_cannot_inject_markup(payload: str) -> None:
    harmless, hostile = (
        render_page([AuditRecord(**revive(poison(asdict(masked()), text)))], title="One" + text)  # type: ignore[arg-type]
        for text in ("x" * len(payload), payload)
    )
    assert Outline(hostile).skeleton == Outline(harmless).skeleton
    assert "".join(payload.split()) in "".join(Outline(hostile).text.split())


def test_an_unknown_verdict_is_text_too() -> None:
    record = replace(masked(), decision=Verdict(answer='masked"><script>', reason="<script>"))
    assert [tag for tag, _ in Outline(render_page([record], title="One")).elements].count("script") == 1


def test_no_records_are_an_error() -> None:
    with pytest.raises(ValueError, match="records: expected at least one, got none"):
        render_page([], title="Nothing")


def test_a_bare_record_gives_a_page() -> None:
    bare = AuditRecord(
        model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM", clean=share(9, 10),
        claimed=share(9, 10), robust=share(8, 10), decision=Verdict(answer="inconclusive", reason=""), findings=[],
        attacks=[],
    )  # fmt: skip
    assert Outline(render_page([bare], title="Bare")).open == []


def test_audits_that_cannot_be_compared_are_said_to_be(page: str) -> None:
    assert "These audits differ in their images and in epsilon (0.25 and 8/255): compare them with care." in words_of(
        page
    )
    assert "compare them with care" not in render_page([masked(), masked()], title="Twice")


def test_several_models_fold(page: str) -> None:
    folds = [attributes for _, attributes in Outline(page).elements if attributes.get("class") == "model"]
    assert len(folds) == 3
    assert 'class="model"' not in render_page([masked()], title="One model")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_or_several_surfaces_are_drawn(count: int) -> None:
    record = replace(masked(), surfaces=[surface(index, -3.0) for index in range(count)])
    page = render_page([record], title="One model")
    assert page.count("<image ") == count + 1  # and the scale of colours
    assert "Example 0: 0 nats at the image, -1.7" in page
