"""The page in a real browser: it asks for nothing, the keyboard works it, and everybody can read it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from chromium import CHROMIUM, tab
from records import example, inconclusive, masked, not_masked
from test_report_page import HOSTILE, poison
from unmask.reports import write_page
from unmask.reports.record import AuditRecord, revive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's package chromium"),
]

FOUND = ("FGSM with log-odds", "PGD", "PGD", None, "PGD", None)
"""The attack that found each example."""


def browsable():
    found = [example(3 * number, "8", attack) for number, attack in enumerate(FOUND)]
    return replace(masked(), examples=found)


def hostile():
    payload = HOSTILE[0] + HOSTILE[1]
    return AuditRecord(**revive(poison(asdict(browsable()), payload)))  # type: ignore[arg-type]


PAGES = {"one": lambda: [browsable()], "several": lambda: [browsable(), not_masked(), inconclusive(), masked()],
         "hostile": lambda: [hostile(), hostile()]}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, records in PAGES.items():
        write_page(records(), folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with tab(tmp_path_factory.mktemp("profile")) as one:
        yield one


UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
NAMES = "[...document.querySelectorAll('.example')].map((one) => one.dataset.name)"
SHOWN = NAMES.replace(".map(", ".filter((one) => one.checkVisibility()).map(")
PLACE = "document.querySelector('output').textContent"

# The texts that can be seen: each with its size in pixels, and the contrast between it and what is behind it.
TEXTS = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest("script, title, option")) continue;
    const style = getComputedStyle(element);
    const matrix = element.closest("svg") ? element.getScreenCTM() : { a: 1, b: 0 };
    const [ink, ground] = [element.closest("svg") ? style.fill : style.color, behind(element)].map(luminance);
    found.push({
      text, size: parseFloat(style.fontSize) * Math.hypot(matrix.a, matrix.b),
      contrast: (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05), opacity: Number(style.opacity),
    });
  }
  return found;
})()
"""


def test_the_browser_tells_what_a_page_does(browser, tmp_path):
    """Or the tests below could not fail."""
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://unmask.invalid/x'><script>console.log(1); nothing()</script>")
    browser.open(page)
    assert "http://unmask.invalid/x" in browser.requests.values()
    assert not browser.refused
    assert any("console.log" in one for one in browser.complaints)
    assert any("nothing is not defined" in one for one in browser.complaints)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_nothing_goes_wrong_and_nothing_is_asked_for(name, script, pages, browser):
    browser.open(pages[name], script=script)
    browser.evaluate(UNFOLD)
    for _ in range(20):
        browser.press("Tab", "ArrowRight")
    assert [one for one in browser.requests.values() if not one.startswith("data:")] == [pages[name].as_uri()]
    assert browser.complaints == []


def test_the_page_may_ask_for_nothing(pages, browser):
    """Foreign content in it would be refused."""
    browser.open(pages["one"])
    browser.evaluate("""(() => {
      const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
      add("img", { src: "http://unmask.invalid/image" });
      add("script", { textContent: "window.ran = 'inline'" });
      add("script", { src: "http://unmask.invalid/script" });
      document.body.setAttribute("onclick", "window.ran = 'handler'");
      document.body.click();
      const asked = fetch("http://unmask.invalid/fetched").catch(() => {});
      return asked.then(() => new Promise((after) => setTimeout(after, 300)));
    })()""")
    assert browser.evaluate("window.ran") is None
    asked = {number for number, address in browser.requests.items() if address.startswith("http")}
    assert asked == browser.refused
    assert len([one for one in browser.complaints if "Content Security Policy" in one]) >= 4


def test_arrow_keys_go_through_the_examples(pages, browser):
    browser.open(pages["one"])
    names = browser.evaluate(NAMES)
    assert names[0] == "Example 0, 0 taken for 8"
    assert names[3] == "Example 9, 9, withstood"
    browser.evaluate("document.querySelector('[data-step=\"1\"]').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "ArrowLeft", "Home", "Enter"):
        browser.press(key)
        (shown,) = browser.evaluate(SHOWN)
        seen.append(names.index(shown))
        assert browser.evaluate(PLACE) == f"{seen[-1] + 1} of {len(FOUND)}"
    assert seen == [1, 2, 1, 5, 0, 5, 0, 1]


def test_the_row_of_small_images_is_one_stop_and_moves_with_the_arrows(pages, browser):
    browser.open(pages["one"])
    browser.evaluate("document.querySelector('[data-step=\"1\"]').focus()")
    focused = "document.activeElement.querySelector('img')?.alt ?? ''"
    browser.press("Tab")
    assert browser.evaluate(focused) == "Example 0, 0 taken for 8"
    browser.press("ArrowRight", "ArrowRight")
    assert [browser.evaluate(focused)] == browser.evaluate(SHOWN)
    assert browser.evaluate("document.activeElement.ariaCurrent") == "true"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.closest('.film')") is None


def test_examples_are_found_by_outcome_and_by_attack(pages, browser):
    browser.open(pages["one"])
    names = browser.evaluate(NAMES)

    def choose(field, times):
        browser.evaluate(f"document.querySelector('select[name={field}]').focus()")
        browser.press(*["ArrowDown"] * times)
        browser.evaluate("document.querySelector('[data-step=\"1\"]').focus()")
        seen = []
        while (shown := browser.evaluate(SHOWN)) and shown[0] not in seen:
            seen += shown
            browser.press("ArrowRight")
        return sorted(names.index(one) for one in seen)

    options = browser.evaluate("[...document.querySelectorAll('select[name=attack] option')].map((one) => one.text)")
    assert options == ["any attack", "FGSM with log-odds (1)", "PGD (3)"]
    assert choose("outcome", 1) == [0, 1, 2, 4]
    assert choose("attack", 2) == [1, 2, 4]
    film = "[...document.querySelectorAll('.film button')].filter((one) => one.checkVisibility()).length"
    assert browser.evaluate(film) == 3
    assert choose("outcome", 1) == []
    assert browser.evaluate(PLACE) == "No example is both."


def test_without_javascript_the_examples_are_a_list(pages, browser):
    browser.open(pages["one"], script=False)
    assert len(browser.evaluate(SHOWN)) == len(FOUND)
    assert browser.evaluate("document.querySelector('.controls').checkVisibility()") is False


def test_printed_everything_is_there(pages, browser):
    browser.open(pages["several"])
    browser.media("print")
    assert len(browser.evaluate(SHOWN)) == len(FOUND) + len(masked().examples)
    hidden = "[...document.querySelectorAll('article')].filter((one) => !one.checkVisibility()).length"
    assert browser.evaluate(hidden) == 0
    browser.media("screen")
    assert browser.evaluate(hidden) == 4


@pytest.mark.parametrize("name", ["one", "several"])
def test_tab_goes_down_the_page_and_shows_where_it_is(name, pages, browser):
    browser.open(pages[name])
    browser.evaluate(UNFOLD)
    browser.evaluate("window.stops = []; document.body.tabIndex = -1; document.body.focus()")
    for _ in range(200):
        browser.press("Tab")
        ended = browser.evaluate("""(() => {
          const [one, style] = [document.activeElement, getComputedStyle(document.activeElement)];
          if (one === document.body || window.stops.includes(one)) return true;
          window.stops.push(one);
          const box = one.getBoundingClientRect();
          one.marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
          one.inView = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
          return false;
        })()""")
        if ended:
            break
    reached = browser.evaluate("""window.stops.map((one, i) => ({
      what: one.outerHTML.slice(0, 80), marked: one.marked, inView: one.inView,
      down: !i || Boolean(window.stops[i - 1].compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING),
    }))""")
    assert len(reached) > 10
    assert "Skip to the details" in reached[0]["what"]
    assert [one["what"] for one in reached if not (one["marked"] and one["inView"] and one["down"])] == []
    missed = browser.evaluate("""[...document.querySelectorAll("a[href], button, select, summary")].filter(
      (one) => one.checkVisibility() && !one.closest(".film") && !window.stops.includes(one)).length""")
    assert missed == 0


def test_a_link_opens_the_model_that_it_leads_to(pages, browser):
    browser.open(pages["several"])
    folds = "[...document.querySelectorAll('.model')].map((one) => one.open)"
    assert browser.evaluate(folds) == [False] * 4
    browser.evaluate("document.querySelector('#comparison-section a[href=\"#model-2\"]').focus()")
    browser.press("Enter")
    assert browser.evaluate(folds) == [False, True, False, False]
    browser.evaluate("document.querySelectorAll('.model')[1].open = false; dispatchEvent(new Event('hashchange'))")
    assert browser.evaluate(folds) == [False, True, False, False]  # by our script, for browsers that leave it closed
    top = browser.evaluate("document.querySelector('#model-2').getBoundingClientRect().top")
    assert 0 <= round(top) < 900  # a browser scrolls to whole pixels, so that less than half of one may be above


@pytest.mark.parametrize("name", PAGES)
def test_every_image_says_what_it_shows(name, pages, browser):
    browser.open(pages[name])
    browser.evaluate(UNFOLD)
    alternatives = browser.evaluate("[...document.images].map((one) => one.alt)")
    assert len(alternatives) == sum(4 * len(record.examples) for record in PAGES[name]())
    assert all(alternatives)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    for roles in ({"image", "img"}, {"button", "combobox"}):
        named = [one["name"]["value"] for one in nodes if not one["ignored"] and one["role"]["value"] in roles]
        assert len(named) > 5
        assert all(named)


@pytest.mark.parametrize("name", PAGES)
def test_on_a_narrow_screen_nothing_is_cut_off_or_small(name, pages, browser):
    browser.open(pages[name], width=360)
    browser.evaluate(UNFOLD)
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= 360
    assert {one["text"]: one["size"] for one in browser.evaluate(TEXTS) if one["size"] < 12} == {}
    beyond = """[...document.querySelectorAll("svg text")].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.left < 0 || box.right > 360;
    }).map((one) => one.textContent)"""
    assert browser.evaluate(beyond) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "several"])
def test_all_text_stands_out_in_both_modes(scheme, name, pages, browser):
    browser.open(pages[name], scheme=scheme)
    browser.evaluate(UNFOLD)
    texts = browser.evaluate(TEXTS)
    assert len(texts) > 200
    assert {one["text"]: one["contrast"] for one in texts if one["contrast"] < 4.5 or one["opacity"] < 1} == {}
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_images_keep_their_pixels(pages, browser):
    browser.open(pages["one"])
    kinds = browser.evaluate("[...new Set([...document.images].map((one) => getComputedStyle(one).imageRendering))]")
    assert kinds == ["pixelated"]
    assert browser.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth === 24)")


def test_names_are_text(pages, browser):
    browser.open(pages["hostile"])
    browser.evaluate(UNFOLD)
    browser.evaluate("document.querySelector('[data-step=\"1\"]').click()")
    payload = " ".join((HOSTILE[0] + HOSTILE[1]).split())
    said = " ".join(browser.evaluate("document.body.innerText").split())
    for text in ("clean: 3", "adversarial: 8", "found by PGD", "LeNet+, trained with FGSM"):
        assert text + payload in said
    strange = "document.querySelectorAll('img:not([alt]), [onerror], [onload], img[src=x], script').length"
    assert browser.evaluate(strange) == 1
    assert browser.complaints == []
