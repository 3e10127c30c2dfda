"""What is written about the layer is true: settings, scripts, commands."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from pydantic import SecretStr

from src.config import Settings
from tests.conventions.sources import MODULES, ROOT, SRC

README = ROOT / "README.md"
SETTINGS_PAGE = ROOT / "docs" / "reference" / "settings.md"
SCRIPTS_PAGE = ROOT / "docs" / "reference" / "scripts.md"
SCRIPTS = sorted(
    module.rpartition(".")[2]
    for module in MODULES
    if module.startswith("src.database.scripts.") and not module.endswith(".command")
)
TARGETS = ("demo", "test", "lint", "docs", "bench", "torture")


def settings() -> dict[str, tuple[str, str]]:
    """Default and meaning of each variable, as the code has them."""

    def shown(default: Any) -> str:
        return "" if default is None or isinstance(default, SecretStr) else str(default)

    return {
        name.upper(): (shown(field.default), field.description or "") for name, field in Settings.model_fields.items()
    }


def settings_of_page() -> dict[str, tuple[str, str]]:
    rows = re.findall(
        r"^\| `([A-Z][A-Z0-9_]+)` \| (.*?) ?\| (.+?) \|$", SETTINGS_PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (default.strip().strip("`"), meaning) for name, default, meaning in rows}


def settings_of_example() -> dict[str, tuple[str, str]]:
    """Value and comment of each variable in .env.example; the value of a default, or an example where there is none."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    rows = re.findall(r"^# (.+)\n#? ?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^#? ?[A-Z][A-Z0-9_]+=", text, re.MULTILINE)), (
        "a variable without its meaning above it"
    )
    return {name: (value, meaning) for meaning, name, value in rows}


def run_script(name: str, *arguments: str, folder) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "COLUMNS": "200", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", f"src.database.scripts.{name}", *arguments],
        capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=environment,
    )  # fmt: skip


def test_every_setting_has_a_meaning():
    assert [name for name, (_, meaning) in settings().items() if not meaning] == []


def test_the_reference_lists_the_settings_with_their_defaults_and_meanings():
    assert settings_of_page() == settings()


def test_the_example_lists_the_settings_with_their_defaults_and_meanings():
    example = settings_of_example()
    wanted = settings()

    assert {name: meaning for name, (_, meaning) in example.items()} == {
        name: meaning for name, (_, meaning) in wanted.items()
    }
    defaults = {name: default for name, (default, _) in wanted.items() if default}
    assert {name: example[name][0] for name in defaults} == defaults


def test_the_example_with_every_line_switched_on_is_accepted(tmp_path, monkeypatch):
    for name in settings():
        monkeypatch.delenv(name, raising=False)
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    path = tmp_path / ".env"
    path.write_text(re.sub(r"^# ([A-Z][A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    loaded = Settings(_env_file=path)

    assert {name.upper() for name in loaded.model_fields_set} == set(settings())


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("page", [README, SCRIPTS_PAGE], ids=["readme", "reference"])
def test_a_script_is_listed(name, page):
    assert f"python -m src.database.scripts.{name}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(name, tmp_path):
    helped = run_script(name, "--help", folder=tmp_path)

    assert helped.returncode == 0, helped.stderr
    assert "Usage" in helped.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_ends_with_2_for_an_option_that_it_does_not_have(name, tmp_path):
    refused = run_script(name, "--no-such-option", folder=tmp_path)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no-such-option" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", [README, SCRIPTS_PAGE], ids=["readme", "reference"])
def test_a_page_names_no_script_that_is_not_there(page):
    named = set(re.findall(r"src\.database\.scripts\.(\w+)", page.read_text(encoding="utf-8"))) - {"NAME"}

    assert named == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_of_a_script_is_in_the_reference(name):
    module = import_module(f"src.database.scripts.{name}")
    functions = [
        thing for thing in vars(module).values() if inspect.isfunction(thing) and thing.__module__ == module.__name__
    ]
    page = SCRIPTS_PAGE.read_text(encoding="utf-8")
    options = {
        f"--{parameter.replace('_', '-')}"
        for function in functions
        if not function.__name__.startswith("_")
        for parameter, described in inspect.signature(function).parameters.items()
        if described.kind is inspect.Parameter.KEYWORD_ONLY
    }
    options = {{"--rotate": "--rotate-key", "--archives": "--no-archives"}.get(option, option) for option in options}

    assert [option for option in sorted(options) if option not in page] == []


def test_make_alone_prints_the_targets_and_what_they_do():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30, env=environment
    ).stdout

    for target in TARGETS:
        assert re.search(rf"\bmake {target}\b +\w", printed), f"{target} is not in:\n{printed}"


def test_the_makefile_and_ci_have_every_command_of_the_design():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) >= set(TARGETS)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    called = set(re.findall(r"\bmake ([a-z]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))
    assert {"test", "lint", "docs", "bench"} <= called


def test_the_readme_is_one_page():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_types_of_the_layer_are_given_to_those_who_install_it():
    assert (SRC / "py.typed").is_file()
