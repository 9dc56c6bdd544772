"""The one way in which the templates of the pages are filled."""

from collections.abc import Callable, Mapping
from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")


def filled(template: str, filters: Mapping[str, Callable[..., object]], **facts: object) -> str:
    """A template of the pages with `facts`; what it names and nobody gives is an error, and no
    text of a fact is markup.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**facts)
