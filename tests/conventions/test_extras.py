"""Without an optional package, the error names the extra to install, for every entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Missing server programs and audio packages are tested in test_embedded.py and test_audio_facts.py.
USES = {
    "seals: a new key": ("cryptography", "seals", "SealKey.create(folder / 'new')"),
    "seals: a key file": ("cryptography", "seals", "SealKey.load(file)"),
    "seals: a signature": ("cryptography", "seals", "SealKey(b'0' * 32).verifies(b'', b'')"),
    "s3": ("boto3", "s3", "open_backend('s3', bucket='speech').head(case_key(1, 'wav'))"),
    "schemas": ("jsonschema", "schemas", "analyses.register_schema('topics/1', {})"),
}
PROGRAM = """
import sys, tempfile
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from src.errors import PackageMissing
from src.services import analyses
from src.services.history import SealKey
from src.storage import case_key, open_backend
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    file = folder / "key"
    file.write_text("PUBLIC")
    try:
        {use}
    except PackageMissing as error:
        print(error)
"""


@pytest.mark.parametrize("name", USES)
def test_a_missing_package_is_an_error_that_names_the_extra(name):
    package, extra, use = USES[name]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(package=package, use=use)],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert f"pip install 'speech-to-information[{extra}]'" in done.stdout
