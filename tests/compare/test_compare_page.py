"""What a comparison is written out as: text, notebook, page, CSV, and for IOHanalyzer."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optprune.compare import Comparison
from optprune.compare.compare import compare
from optprune.errors import ArgumentError, SaveError
from optprune.formulation import Metric
from optprune.optimizers import NSGA2
from tests.compare.cases import Draws, Raises, Spends, measured, single, trade

VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Three problems, one with a name that must be escaped; runs that fail; passes over data."""
    return compare(
        {"two <b> & more": trade(), "one": single(), "measured": measured()},
        [NSGA2(population=6), Raises(), Spends()],
        seeds=2,
        evaluations=12,
        progress=False,
    )


class Page(HTMLParser):
    """Checks that tags are closed in their order, and gathers what a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = found.to_html(tmp_path_factory.mktemp("page") / "page.html")
    return path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_needs_nothing_else(text: str) -> None:
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a")
        assert "href" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert [len(page.all(tag)) for tag in ("html", "head", "body", "title", "h1")] == [1] * 5
    assert len(page.all("script")) == 1


def test_the_page_shows_every_figure(text: str) -> None:
    page = Page(text)
    images = page.all("img")
    # Targets against three costs and ranks; for each problem curves against each cost (one has no
    # passes but those of an optimizer), and the trade-off where there are two objectives.
    assert len(images) == 4 + 3 * 3 + 2
    assert len(page.all("figcaption")) == len(page.all("figure")) == len(images)
    for image in images:
        assert image["alt"]
        source = image["src"] or ""
        assert source.startswith("data:image/png;base64,")
        assert base64.b64decode(source.partition(",")[2], validate=True)[1:4] == b"PNG"
    assert len({image["src"] for image in images}) == len(images)


def test_the_page_has_every_row_of_every_table_escaped(text: str, found: Comparison) -> None:
    page = Page(text)
    rows = len(found.summary()) + len(found.statistics()) + len(found.runs) + 5 + 3
    assert len(page.all("table")) == len(page.all("thead")) == len(page.all("tbody")) == 4
    assert len(page.all("tr")) == rows + 4
    assert len(page.all("tr")) - len([r for r in page.all("tr") if r]) == rows + 4 - 6  # failed
    assert len(page.all("button")) == len(page.all("th"))
    assert "two <b> & more" in page.texts
    assert "RuntimeError: nothing <works> here" in page.texts
    assert not page.all("b")
    assert not page.all("works")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

LISTEN = """<script>
window.errors = [];
window.addEventListener("error", (event) => window.errors.push(String(event.message)), true);
</script>"""
LOOK = """<script>
window.addEventListener("load", () => {
  const column = (table, i) => [...table.tBodies[0].rows].map((r) => r.cells[i].textContent);
  const tables = [...document.querySelectorAll("table")];
  const seen = tables.map((table) => [...table.tHead.rows[0].cells].map((head, i) => {
    const before = column(table, i);
    head.querySelector("button").click();
    const up = column(table, i), said = head.getAttribute("aria-sort");
    head.querySelector("button").click();
    return {before, up, down: column(table, i), said: [said, head.getAttribute("aria-sort")],
            others: table.querySelectorAll("th[aria-sort]").length};
  }));
  const images = [...document.images].map((image) => [image.naturalWidth, image.clientWidth]);
  const report = document.createElement("script");
  report.type = "application/json";
  report.id = "report";
  report.textContent = JSON.stringify({errors: window.errors, images, seen});
  document.body.append(report);
});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_opens_the_page_shows_every_figure_and_sorts_its_tables(
    text: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    watched = text.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{LOOK}</body>")
    page.write_text(watched, encoding="utf-8")
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=300)
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', done.stdout)
    assert found is not None, done.stderr
    report = json.loads(found.group(1))
    assert report["errors"] == []
    assert len(report["images"]) == len(Page(text).all("img"))
    assert all(natural > 100 and shown > 100 for natural, shown in report["images"])
    assert len(report["seen"]) == 4
    moved = 0
    for table in report["seen"]:
        for column in table:
            assert column["said"] == ["ascending", "descending"]
            assert column["others"] == 1
            assert sorted(column["up"]) == sorted(column["down"]) == sorted(column["before"])
            known = [each for each in column["up"] if each != "–"]
            assert column["up"] == [*known, *["–"] * (len(column["up"]) - len(known))]
            assert known == ordered(known)
            assert [each for each in column["down"] if each != "–"] in (
                ordered(known, reverse=True),
                [*reversed(known)],
            )
            moved += column["up"] != column["down"]
    assert moved > 10


def ordered(cells: list[str], *, reverse: bool = False) -> list[str]:
    """Sort cells as a reader would: numbers by their size, words by the alphabet."""
    try:
        numbers = [float(cell.replace(",", "")) for cell in cells]
    except ValueError:
        return sorted(cells, key=str.casefold, reverse=reverse)
    order = sorted(range(len(cells)), key=numbers.__getitem__, reverse=reverse)
    return [cells[i] for i in order]


def test_a_comparison_shows_itself_in_text_and_in_a_notebook(found: Comparison) -> None:
    shown = repr(found)
    assert "5 optimizers on 3 problems with 2 seeds, 12 evaluations each" in shown
    assert "30 runs, 6 failed" in shown
    assert "UniformWidths hypervolume" in shown
    page = Page(found._repr_html_())
    assert len(page.all("img")) == 3
    assert len(page.all("tr")) == 1 + 15
    assert not page.all("b")


def test_what_nobody_could_do_is_shown_too(tmp_path: Path) -> None:
    broken = Metric("broken", lambda candidate: 1 / 0, needs="structure", version=1)
    found = compare(
        trade(objectives=[broken]),
        Draws(),
        seeds=1,
        evaluations=4,
        references=False,
        progress=False,
    )
    page = Page(found.to_html(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "–" in page.texts
    assert page.all("img")
    assert repr(found)
    assert found._repr_html_()


def test_every_kind_of_picture_can_be_drawn(found: Comparison) -> None:
    assert found.plot().get_ylabel() == "targets reached"
    assert found.plot("one").get_ylabel() == "distortion"
    assert found.plot("one", cost="samples").get_xlabel().startswith("samples")
    assert found.plot("two <b> & more").get_ylabel() == "hypervolume"
    ax = found.plot("two <b> & more", kind="attainment")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("MACs (fraction of dense)", "distortion")
    assert found.plot(kind="ranks", title="mine").get_title(loc="left") == "mine"
    with pytest.raises(ArgumentError, match=r"kind must be one of anytime.*Did you mean 'ranks'"):
        found.plot(kind="rank")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="two objectives"):
        found.plot("one", kind="attainment")


def test_the_log_is_written_exactly(found: Comparison, tmp_path: Path) -> None:
    path = found.to_csv(tmp_path / "log.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), found.log, check_dtype=False)
    with pytest.raises(SaveError, match="could not be written"):
        found.to_csv(tmp_path / "nowhere" / "log.csv")
    with pytest.raises(SaveError, match="could not be written"):
        found.to_csv(tmp_path)


def test_the_export_for_iohanalyzer_tells_every_improvement(
    found: Comparison, tmp_path: Path
) -> None:
    folder = found.to_ioh(tmp_path / "ioh")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(found.optimizers)
    own = folder / "NSGA2"
    known = json.loads((own / "IOHprofiler_f1_two-b-more.json").read_text())
    assert known["maximization"] is True
    assert known["function_id"] == 1
    assert known["algorithm"]["name"] == "NSGA2"
    scenario = known["scenarios"][0]
    assert scenario["dimension"] == 3
    lines = (own / scenario["path"]).read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line == "evaluations raw_y"]
    assert len(starts) == len(scenario["runs"]) == 2
    trajectories = [r for r in found.trajectories("two <b> & more").runs if r.optimizer == "NSGA2"]
    ends = [*starts[1:], len(lines)]
    for start, end, run, told in zip(starts, ends, trajectories, scenario["runs"], strict=True):
        table = np.array([line.split() for line in lines[start + 1 : end]], dtype=float)
        assert table[0, 0] == 1
        assert table[-1, 0] == told["evals"] == 12
        assert (np.diff(table[:, 0]) > 0).all()
        assert (table[:, 1] == run.at(table[:, 0])).all()
        assert told["best"]["y"] == table[:, 1].max()
        assert told["instance"] == run.seed + 1
    single_objective = json.loads((own / "IOHprofiler_f2_one.json").read_text())
    assert single_objective["maximization"] is False
    assert found.to_ioh(folder) == folder
    with pytest.raises(SaveError, match="left alone"):
        found.to_ioh(tmp_path)
