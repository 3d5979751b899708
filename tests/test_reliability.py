"""docs/reliability.md counts the fault cases that tests name; ``python tests/test_reliability.py``
prints the table."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
FAULTS = ROOT.parent / "shared" / "faults.md"
FAMILY = r"SP-[A-Z]{2}|FB|PY|SK|SEC"
# Ids of one family may share its name: SP-IN-01, -03.
CITED = re.compile(rf"\b({FAMILY})(-\d+(?:, -\d+)*)")
CASE = re.compile(rf"^\| ((?:{FAMILY})-\d+) \|", re.MULTILINE)
ROW = re.compile(r"^\| (.+?) \| (\d+) \| (\d+) \|$", re.MULTILINE)


def cited():
    """Return the ids that the tests name."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for family, numbers in CITED.findall(path.read_text()):
            found |= {family + number for number in re.findall(r"-\d+", numbers)}
    return found


def groups():
    """Return the ids of the cases, by group."""
    if not FAULTS.is_file():
        pytest.skip("the collection of faults lies beside the repository, and is not here")
    _, *sections = re.split(r"^## ", FAULTS.read_text(), flags=re.MULTILINE)
    return {section.partition("\n")[0].strip(): CASE.findall(section) for section in sections}


def table():
    """Return (group, cases, passed) for each group, and for all."""
    named = cited()
    rows = [(group, len(ids), len(named & set(ids))) for group, ids in groups().items()]
    return [*rows, ("all", sum(row[1] for row in rows), sum(row[2] for row in rows))]


def test_the_page_has_the_counts_of_this_run():
    on_page = [(group, int(n), int(passed)) for group, n, passed in ROW.findall(PAGE.read_text())]
    assert on_page == table()


def test_every_case_has_a_test():
    missing = [case for ids in groups().values() for case in ids if case not in cited()]
    assert missing == []


def test_what_was_decided_otherwise_is_tested_as_it_was_decided():
    known = {case for ids in groups().values() for case in ids}
    otherwise = set(CASE.findall(PAGE.read_text()))
    assert otherwise
    assert otherwise <= known & cited()


if __name__ == "__main__":
    for row in table():
        print("| {} | {} | {} |".format(*row))
