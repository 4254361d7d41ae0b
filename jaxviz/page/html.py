"""The HTML of a static page: a title, and sections of pictures with captions.

Text and HTML are two types here. A `str` is text: the name of a layer, a caption, a number. HTML is made by the
functions of this module only, and `escape` is the one of them that turns text into HTML. So a name that comes from a
file, such as a layer called `<script>`, is shown on the page as it is written and never becomes a part of the page.
What a script of the page needs to know is passed on by `call`, as numbers and text, and the script shows it as text.
"""

import html
import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, NewType
from urllib.parse import quote

Html = NewType("Html", str)


class Illustration(NamedTuple):
    """A picture of a page: the path of its file, relative to the page, and its caption, which is text."""

    file: str
    caption: str


PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
$head
$body
</html>
""")

# One file a page: no script, no font and no style sheet is loaded from anywhere.
STYLE = Html("""<style>
  :root { color-scheme: light dark }
  body { font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
  pre { font-size: 13px; line-height: 1.35; overflow-x: auto }
  .tiles, .small, .wide { display: grid; gap: 1.5rem }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
  .small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)) }
  figure { margin: 0 }
  figcaption { font-size: 15px; opacity: .8; overflow-wrap: anywhere }
  img { width: 100%; max-height: 48rem; object-fit: contain; object-position: left }
</style>""")


def escape(text: str) -> Html:
    """Text as HTML that shows it as it is written, in an element or in a quoted attribute."""
    # A page is UTF-8. What has no code there, which JSON may hold, is shown as "?".
    return Html(html.escape(text.encode("utf-8", "replace").decode("utf-8")))


def call(function: str, *values: Any) -> str:
    """A script that calls a function of the page with values: numbers, text, None, and lists and dicts of these.

    It is ASCII without `<`, `>` and `&`: it means the same in a file and between `<script>` and `</script>`.

    Raises:
        ValueError: a number is NaN or infinite, which JavaScript reads, but JSON does not know.
    """
    written = (json.dumps(value, allow_nan=False, separators=(",", ":")) for value in values)
    return f"{function}({','.join(written)})\n".translate({ord(each): f"\\u{ord(each):04x}" for each in "<>&"})


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
    body = Html("\n".join([f"<h1>{escape(title)}</h1>", *sections]))
    return write_document(path, title, STYLE, body)


def write_document(path: Path, title: str, head: Html, body: Html) -> Path:
    """The path of a page, which is written: what its head has besides the title, and its body."""
    path.write_text(PAGE.substitute(title=escape(title), head=head, body=body), encoding="utf-8")
    return path
