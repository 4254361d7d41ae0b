"""Law: text stays text. A browser shows exactly the text that was given; no text becomes an element of the page."""

import json
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxviz.page import html

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "a & b &amp; c",
    "$title",
    "</script><script>alert(1)//",
]


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its text, as a browser reads them."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def page(path, text: str) -> Parsed:
    """A page that has `text` in every place that takes text."""
    section = html.section(
        text,
        text,
        [html.Illustration("maps.png", text)],
        layout=text,
        more=[html.preformatted(text), html.link("other.html", text)],
    )
    return Parsed(html.write_page(path / "page.html", text, [section]).read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_never_html(tmp_path, text):
    hostile, plain = page(tmp_path, text), page(tmp_path, "text")
    assert hostile.tags == plain.tags
    assert [set(attributes) for _, attributes in hostile.elements] == [set(each) for _, each in plain.elements]
    assert hostile.texts == [text if shown == "text" else shown for shown in plain.texts]
    assert plain.texts.count("text") == 7  # title twice, heading, paragraph, caption, preformatted, link


@pytest.mark.parametrize("name", ["block 1/conv:0.png", "<script>.png", "javascript:alert(1)", '".png', "50%.png#a?b"])
def test_a_name_of_a_file_is_one_address_beside_the_page(name):
    """Whatever a layer is called, the picture that is named after it is found, and its address runs nothing."""
    (_, _), (_, a), (_, image), _ = Parsed(html.figure(html.Illustration(name, ""))).elements
    assert a["href"] == image["src"]
    address = urlsplit(a["href"])
    assert (unquote(address.path), address._replace(path="")) == (name, urlsplit(""))


def test_a_page_loads_nothing_from_elsewhere(tmp_path):
    found = page(tmp_path, "text")
    assert [attributes["src"] for _, attributes in found.elements if "src" in attributes] == ["maps.png"]
    assert not {"script", "link", "iframe"} & {*found.tags}


def test_text_that_utf_8_has_no_code_for_is_shown_as_far_as_it_can_be(tmp_path):
    """JSON may hold a half of a surrogate pair, and so may a name from a file."""
    assert html.escape("a\ud800b") == "a?b"


TEXT = st.text() | st.sampled_from(HOSTILE)
VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
)


@given(VALUES, VALUES)
def test_a_script_is_called_with_the_values(first, second):
    """It is the same between `<script>` and `</script>`, where a browser reads no `\\u003c`, but JavaScript does."""
    script = html.call("start", first, second)
    assert json.loads(f"[{script.strip().removeprefix('start(').removesuffix(')')}]") == [first, second]
    assert script.isascii()
    assert not {"<", ">", "&"} & {*script}


def test_a_script_is_not_called_with_numbers_that_json_does_not_know():
    with pytest.raises(ValueError, match="not JSON compliant"):
        html.call("start", float("nan"))
