"""The HTML of a static page: a title, and sections of pictures with captions.

Text and HTML are two types here. A `str` is text: the name of a layer, a caption, a number. HTML is made by the
functions of this module only, and `escape` is the one of them that turns text into HTML. So a name that comes from a
file, such as a layer called `<script>`, is shown on the page as it is written and never becomes a part of the page.
"""

import html
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import NamedTuple, NewType
from urllib.parse import quote

Html = NewType("Html", str)


class Illustration(NamedTuple):
    """A picture of a page: the path of its file, relative to the page, and its caption, which is text."""

    file: str
    caption: str


# One file a page: no script, no font and no style sheet is loaded from anywhere.
PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light dark }
  body { font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
  pre { font-size: 13px; line-height: 1.35; overflow-x: auto }
  .tiles, .small, .wide { display: grid; gap: 1.5rem }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
  .small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)) }
  figure { margin: 0 }
  figcaption { font-size: 15px; opacity: .8; overflow-wrap: anywhere }
  img { width: 100%; max-height: 48rem; object-fit: contain; object-position: left }
</style>
<h1>$title</h1>
$sections
</html>
""")


def escape(text: str) -> Html:
    """Text as HTML that shows it as it is written, in an element or in a quoted attribute."""
    return Html(html.escape(text))


def link(file: str, text: str) -> Html:
    """A paragraph that links to another file, named by its path relative to the page."""
    return Html(f'<p><a href="{quote(file)}">{escape(text)}</a></p>')


def preformatted(text: str) -> Html:
    """Text that keeps its lines and spaces, such as a table."""
    return Html(f"<pre>{escape(text)}</pre>")


def figure(picture: Illustration) -> Html:
    """A picture above its caption; a click opens the picture at its full size."""
    file, caption = quote(picture.file), escape(picture.caption)
    return Html(
        f'<figure><a href="{file}"><img src="{file}" alt="{caption}"></a><figcaption>{caption}</figcaption></figure>'
    )


def section(
    title: str, text: str, pictures: Iterable[Illustration], *, layout: str = "tiles", more: Iterable[Html] = ()
) -> Html:
    """A section of a page: a heading, a paragraph, pictures, and whatever else it should end with.

    Args:
        title: the heading.
        text: the paragraph below it.
        pictures: shown in this order.
        layout: the width of a picture: "tiles" (two in a row on a wide screen), "small" (three), or "wide" (one).
        more: HTML that follows the pictures, such as `link(…)` or `preformatted(…)`.
    """
    opening = f'<section>\n<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n<div class="{escape(layout)}">'
    return Html("\n".join([opening, *map(figure, pictures), "</div>", *more, "</section>"]))


def write_page(path: Path, title: str, sections: Iterable[Html]) -> Path:
    """The path of a page, which is written: its title and its sections."""
    path.write_text(PAGE.substitute(title=escape(title), sections="\n".join(sections)), encoding="utf-8")
    return path
