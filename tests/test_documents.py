"""The code in the documents runs and prints what they say it prints."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MPLBACKEND", "Agg")

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(document):
    """Yield (code, printed, said) for each python block; `said` is None where none is claimed."""
    blocks = BLOCK.findall(document.read_text())
    namespace = {}
    for (kind, code), (next_kind, said) in zip(blocks, [*blocks, ("", "")][1:], strict=True):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, document.name, "exec"), namespace)
            yield code, printed.getvalue(), said if next_kind == "text" else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_prints_what_the_document_says(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some of it writes files
    n_claims = 0
    for code, printed, said in run(document):
        n_claims += said is not None
        if said is None:
            assert printed == "", f"printed, but the document shows no output for:\n{code}"
        else:
            assert printed == said
    assert n_claims > 0 or "```python" not in document.read_text()


if __name__ == "__main__":  # python tests/test_documents.py shows what the blocks print
    for path in DOCUMENTS:
        for code, printed, _ in run(path):
            print(f"{code}---\n{printed}===")
