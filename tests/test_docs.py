"""The documentation: every block of Python runs, every link and path resolves, and tables agree with the registries."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import unmask
from unmask.auditing import PROBES
from unmask.cli import main
from unmask.cli.plugins import LazyCommand

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WITH_PYTHON = [page for page in PAGES if BLOCK.search(page.read_text())]
MOST_WORDS = 700


def named(pages: list[Path]) -> list[Any]:
    """Return the pages as parameters that bear their paths."""
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages]


def without_blocks(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def first_column(text: str, heading: str) -> set[str]:
    """Return the first cells of the first table in ``text`` whose head begins with a word."""
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return {row.split("|")[1].strip() for row in table.splitlines()[2:]}


@pytest.mark.parametrize("page", named(WITH_PYTHON))
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is one program; the README's model and images are a linear model of ten digits."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, Any] = {"__name__": page.stem}
    if page.name == "README.md":
        digits = unmask.data.load("digits", "test")
        namespace["model"] = unmask.models.build("linear", inputs=(1, 8, 8), classes=10)
        namespace |= {"images": digits.images[:10], "labels": digits.labels[:10]}
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("page", named(PAGES))
def test_links_resolve(page: Path) -> None:
    """Each relative link leads to a file, and its anchor to a heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page}: {target}"


@pytest.mark.parametrize("page", named(PAGES))
def test_paths_exist(page: Path) -> None:
    """Each file of this repository that a page names is there; a name in capitals stands for any."""
    named_paths = re.findall(r"`((?:src|tests|docs|examples|experiments|results)/[a-z0-9_./-]*)`", page.read_text())
    assert [path for path in named_paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", named(PAGES))
def test_no_heading_is_a_question(page: Path) -> None:
    """Headings, and the first sentence after each, state something."""
    for heading, first in re.findall(r"^#+ (.*)\n\n(.*)$", without_blocks(page), re.MULTILINE):
        assert not heading.endswith("?")
        assert not first.endswith("?")


@pytest.mark.parametrize("page", named(PAGES))
def test_commands_have_their_options(page: Path) -> None:
    """Each line of a shell block that calls a command of the product names options that it has."""
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)).splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        command = main.commands.get(words[1]) if words[:1] == ["unmask"] else None
        if command is not None and not isinstance(command, LazyCommand):
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


def test_readme_is_short() -> None:
    """Counted as ``wc -w`` counts."""
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


def test_reference_is_rendered_from_the_registries() -> None:
    """``python docs/tables.py`` would change nothing."""
    assert (DOCS / "reference.md").read_text() == runpy.run_path(str(DOCS / "tables.py"))["render"]()


def test_causes_and_findings_are_probes() -> None:
    """The README's causes and the other findings of the page on audits are names of probes; the reference has all."""
    causes = first_column((ROOT / "README.md").read_text(), "cause")
    others = first_column((DOCS / "audit.md").read_text(), "finding")
    assert causes | others <= {probe.name for probe in PROBES}
    assert len(causes) == 12
    assert not causes & others


def test_every_decision_has_its_parts() -> None:
    """A decision is said in one sentence, has reasons and a place in the code, and stands in the index."""
    index = (DOCS / "decisions" / "index.md").read_text()
    pages = sorted(DOCS.glob("decisions/[0-9]*.md"))
    assert [int(page.name[:3]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        title = text.split("\n", 1)[0].removeprefix(f"# {page.name[:3]}. ")
        assert f"| [{page.name[:3]}]({page.name}) | {title} |" in index
        assert all(part in text for part in ("\n**Decision.** ", "\n## Why\n", "\n## In the code\n")), page


def test_layers_are_those_of_the_package() -> None:
    """The architecture's table lists each file in the layer that the package's docstring gives it."""
    rows = re.findall(r"^(\S+?)(?:\.py)? +(\d)  ", unmask.__doc__ or "", re.MULTILINE)
    section = (DOCS / "architecture" / "index.md").read_text().split("## The layers", 1)[1].split("\n## ", 1)[0]
    layers = dict(re.findall(r"^\| (\d) \| (.*) \|$", section, re.MULTILINE))
    assert rows
    for name, layer in rows:
        assert f"`{name}`" in layers[layer]
