from pathlib import Path

from attnc.isa.manual import manual

PAGE = Path(__file__).parents[2] / "docs" / "instructions.md"


def test_the_page_is_what_the_records_say():
    assert PAGE.read_text(encoding="utf-8") == manual(), "run `python -m attnc.isa.manual`"
