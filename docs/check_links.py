"""Do relative links lead somewhere? Files and headings, in what is read outside of the pages too.

Run as ``make docs`` or ``python docs/check_links.py``. README, CONTRIBUTING, HISTORY, the pages,
the figures of the benchmarks and the notebooks are read; addresses elsewhere: ``make links``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.DOTALL | re.MULTILINE)
INCLUDE = re.compile(r"^```\{include\} (\S+)", re.MULTILINE)


def broken_links(root: Path) -> list[str]:
    """Return every relative link without a target, as ``file: link``."""
    return [
        f"{path.relative_to(root)}: {link}"
        for path in readable(root)
        for link in links(text_of(path))
        if not leads_somewhere(root, path, link)
    ]


def readable(root: Path) -> Iterator[Path]:
    """Yield the files whose links are checked."""
    yield from sorted(root.glob("*.md"))
    yield from sorted((root / "benchmarks").glob("*.md"))
    yield from sorted((root / "docs").rglob("*.md"))
    yield from sorted((root / "notebooks").glob("*.ipynb"))


def text_of(path: Path) -> str:
    """Return the Markdown of a file: of a notebook its cells, of a page what it includes too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return text


def links(text: str) -> Iterator[str]:
    """Yield the links of a text that are not addresses elsewhere; code has none."""
    for match in LINK.finditer(CODE.sub("", text)):
        if not re.match(r"[a-z]+:", match["target"]):
            yield match["target"]


def leads_somewhere(root: Path, path: Path, link: str) -> bool:
    """Whether a link of a file has a file, and a heading, where it points to."""
    place, _, anchor = link.partition("#")
    target = (path.parent / place).resolve() if place else path
    copies = root / "docs" / "notebooks"
    if target.is_relative_to(copies):  # a build copies them there
        target = root / "notebooks" / target.relative_to(copies)
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(path: Path) -> set[str]:
    """Return the headings of a file as they are linked to."""
    text = CODE.sub(lambda code: code[0] if INCLUDE.match(code[0]) else "", text_of(path))
    found = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for included in INCLUDE.findall(text):
        found |= anchors(path.parent / included)
    return found


def slug(heading: str) -> str:
    """Return the anchor of a heading: small letters and hyphens, without marks."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


if __name__ == "__main__":
    broken = broken_links(ROOT)
    print("\n".join(f"this link leads nowhere: {link}" for link in broken) or "all links lead on")
    sys.exit(bool(broken))
