"""The site of docs/: every page is in it, and what pages point to is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def _files(entry: object) -> list[str]:
    """The files of an entry of mkdocs' `nav`."""
    if isinstance(entry, str):
        return [entry]
    inside = entry.values() if isinstance(entry, dict) else entry
    return [file for one in inside for file in _files(one)]  # type: ignore[attr-defined]


def test_the_navigation_has_every_page_once():
    nav = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES]
    assert sorted(_files(nav)) == pages


def test_the_first_page_leads_to_every_other():
    linked = set(LINK.findall((ROOT / "docs/index.md").read_text()))
    assert linked == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES} - {"index.md"}


def test_no_two_pages_have_one_title():
    titles = [page.read_text().splitlines()[0] for page in PAGES]
    assert sorted(set(titles)) == sorted(titles)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_is_there(page):
    assert [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()] == []


def test_what_the_page_on_python_documents_is_there():
    named = re.findall(r"^::: (\S+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert "erasure_core.model.Model" in named  # the face of the package (docs/python.md)
    parts = [name.rpartition(".")[::2] for name in named]
    assert [f"{m}.{n}" for m, n in parts if not hasattr(import_module(m), n)] == []
