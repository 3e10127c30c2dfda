"""The documentation matches the code: settings, scripts, commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from src.config import Settings
from tests.conventions.sources import MODULES, ROOT, SRC

README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
SCRIPTS = sorted(
    module.rpartition(".")[2]
    for module in MODULES
    if module.startswith("src.database.scripts.") and not module.endswith(".command")
)
TARGETS = ("demo", "test", "lint", "docs", "bench", "torture")


def settings() -> dict[str, tuple[str, str]]:
    """The default and description of each variable in the code."""

    def shown(default: Any) -> str:
        return "" if default is None or isinstance(default, SecretStr) else str(default)

    return {
        name.upper(): (shown(field.default), field.description or "") for name, field in Settings.model_fields.items()
    }


def settings_of_reference() -> dict[str, tuple[str, str]]:
    rows = re.findall(
        r"^\| `([A-Z][A-Z0-9_]+)` \| (.*?) ?\| (.+?) \|$", SETTINGS.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (default.strip().strip("`"), meaning) for name, default, meaning in rows}


def settings_of_example() -> dict[str, tuple[str, str]]:
    """The value and comment of each variable in .env.example: the default, or an example without a default."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    rows = re.findall(r"^# (.+)\n#? ?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^#? ?[A-Z][A-Z0-9_]+=", text, re.MULTILINE)), (
        "a variable without a description above it"
    )
    return {name: (value, meaning) for meaning, name, value in rows}


def run_script(name: str, *arguments: str, folder) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "COLUMNS": "200", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", f"src.database.scripts.{name}", *arguments],
        capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=environment,
    )  # fmt: skip


def test_every_setting_has_a_description():
    assert [name for name, (_, meaning) in settings().items() if not meaning] == []


def test_the_readme_lists_the_settings_with_defaults_and_descriptions():
    assert settings_of_reference() == settings()


def test_the_example_lists_the_settings_with_defaults_and_descriptions():
    example = settings_of_example()
    expected = settings()

    assert {name: meaning for name, (_, meaning) in example.items()} == {
        name: meaning for name, (_, meaning) in expected.items()
    }
    defaults = {name: default for name, (default, _) in expected.items() if default}
    assert {name: example[name][0] for name in defaults} == defaults


def test_the_example_with_every_line_uncommented_is_valid(tmp_path, monkeypatch):
    for name in settings():
        monkeypatch.delenv(name, raising=False)
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    path = tmp_path / ".env"
    path.write_text(re.sub(r"^# ([A-Z][A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    loaded = Settings(_env_file=path)

    assert {name.upper() for name in loaded.model_fields_set} == set(settings())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_help_and_is_in_the_readme(name, tmp_path):
    helped = run_script(name, "--help", folder=tmp_path)

    assert helped.returncode == 0, helped.stderr
    assert "Usage" in helped.stdout
    assert f"python -m src.database.scripts.{name}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_exits_with_2_for_an_unknown_option(name, tmp_path):
    refused = run_script(name, "--no-such-option", folder=tmp_path)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no-such-option" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_readme_names_only_existing_scripts():
    named = set(re.findall(r"src\.database\.scripts\.(\w+)", README.read_text(encoding="utf-8"))) - {"NAME"}

    assert named == set(SCRIPTS)


def test_make_without_a_target_prints_help():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30, env=environment
    ).stdout

    for target in TARGETS:
        assert re.search(rf"\bmake {target}\b +\w", printed), f"{target} is not in:\n{printed}"


def test_the_makefile_and_ci_have_all_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) >= set(TARGETS)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    called = set(re.findall(r"\bmake ([a-z]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))
    assert {"test", "lint", "docs", "bench"} <= called


def test_the_readme_is_one_page():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_package_is_marked_as_typed():
    assert (SRC / "py.typed").is_file()
