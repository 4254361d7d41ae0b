"""The page of the layers and operations that load.

Law: `docs/layers.md` says what the table says.
"""

from layers_page import PAGE, page


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/weights_convert/layers_page.py"
