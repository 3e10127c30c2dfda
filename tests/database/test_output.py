"""No value that a script prints acts on the terminal."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from src.database.scripts import command
from src.errors import Conflict
from src.maintenance import terminal
from src.maintenance.terminal import printable, say

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted({*(ROOT / "src/database/scripts").glob("*.py"), *(ROOT / "src/maintenance").glob("*.py")})
HOSTILE = {
    "\x1b[2J\x1b]0;owned\x07": r"\x1b[2J\x1b]0;owned\x07",
    "a\r\nsound: 7": r"a\r\nsound: 7",
    "\x9b31m\x85": r"\x9b31m\x85",
    "\u202egpj.exe\u2066\u200f": r"\u202egpj.exe\u2066\u200f",
    "one\u2028two\u2029": r"one\u2028two\u2029",
    "\udcff\U000e0041\ue000": r"\udcff\U000e0041\ue000",
    "\x00\x7f": r"\x00\x7f",
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_control_and_formatting_characters_are_printed_as_escapes(hostile, capsys):
    assert printable(hostile) == HOSTILE[hostile]
    say(hostile)
    say(hostile, err=True)
    assert tuple(capsys.readouterr()) == (HOSTILE[hostile] + "\n",) * 2


@pytest.mark.parametrize("name", ["Zoë", "東京\u3000湾", "می\u200cخواهم", "👩\u200d🚒", "a b\u00a0c", r"C:\x1b"])
def test_names_of_all_scripts_are_printed_unchanged(name):
    assert printable(name) == name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_and_maintenance_print_only_with_say(path):
    if path.name == "terminal.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    printing = {"print", "typer.echo", "typer.secho", "click.echo", "sys.stdout", "sys.stderr", "traceback.print_exc"}
    assert printing.isdisjoint(called)


@pytest.mark.parametrize("debug", [False, True])
def test_errors_and_tracebacks_are_printed_as_escapes(capsys, debug):
    def failing() -> None:
        raise Conflict("the case \x1b[31mX\u202e is held")

    with pytest.raises(BaseException) as caught:
        command._command(failing, "history")(debug=debug)
    assert type(caught.value).__name__ == "Exit"
    command._unhandled(ValueError, ValueError("\x1b[2J"), None)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert r"the case \x1b[31mX\u202e is held" in printed.err
    assert r"ValueError: \x1b[2J" in printed.err
    assert terminal.say is command.say
