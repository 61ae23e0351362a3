"""The list of translated ops is that of the table."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current():
    spec = importlib.util.spec_from_file_location("hal_docs_translated", DOCS / "generate_translated_ops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "translated-ops.md").read_text() == module.page(), "run: python docs/generate_translated_ops.py"
