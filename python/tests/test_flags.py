"""Every flag of the commands is a parameter, and every choice of one is in its type."""

from __future__ import annotations

import inspect
import re
import subprocess
import typing

import pytest
import swa_tools
from conftest import tool

#: Which function offers the flags of which command.
FUNCTIONS = {
    "swa-avg": ["average", "average_part", "finish", "accumulate", "follow", "contents", "verify"],
    "swa-bn-update": ["update_bn", "update_bn_part", "merge_stats"],
    "swa-eval": ["evaluate", "evaluate_part", "merge_outcomes", "compare_stats", "sample_swag", "soup"],
}
#: Flags that are a function, a positional parameter, or of a terminal.
OTHERWISE = {
    "list": swa_tools.contents,
    "verify": swa_tools.verify,
    "follow": swa_tools.follow,
    "finish": swa_tools.finish,
    "weights_file": swa_tools.average,
    "save_stats": swa_tools.update_bn_part,
    "merge_stats": swa_tools.merge_stats,
    "save_outcomes": swa_tools.evaluate_part,
    "merge_outcomes": swa_tools.merge_outcomes,
    "compare_stats": swa_tools.compare_stats,
    "swag_samples": swa_tools.sample_swag,
    "soup": swa_tools.soup,
    # Reports hold the coefficients without being asked.
    "explain": None,
    "json": None,
    "quiet": None,
    "help": None,
    "version": None,
    "list_archs": None,
}


def flags(command: str) -> dict[str, list[str]]:
    """The flags in a command's help, each with its choices."""
    text = subprocess.run([tool(command), "--help"], capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if flag := re.match(r" +(?:-\w, )?--([a-z-]+)", line):
            name = flag[1].replace("-", "_")
            found[name] = []
        elif choice := re.match(r" +- ([\w-]+): ", line):
            found[name].append(choice[1])
    assert len(found) > 20
    return found


def parameters(function: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(swa_tools, function)).parameters)


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_flag_is_a_parameter(command: str) -> None:
    known = {name for function in FUNCTIONS[command] for name in parameters(function)}
    missing = [name for name in flags(command) if name not in known and name not in OTHERWISE]
    assert missing == [], "add them to swa_tools/_options.py"


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_option_is_a_flag(command: str) -> None:
    known = set(flags(command))
    for function in FUNCTIONS[command]:
        for name, parameter in parameters(function).items():
            if parameter.kind is parameter.KEYWORD_ONLY and name != "on_update":
                assert name in known, f"{function}: {name}"


@pytest.mark.parametrize("command", FUNCTIONS)
def test_choices_are_those_of_the_command(command: str) -> None:
    # Reports and callables are no choices.
    choices = {name: c for name, c in flags(command).items() if c and name != "progress"}
    assert choices
    checked = 0
    for function in FUNCTIONS[command]:
        for name, parameter in parameters(function).items():
            if name in choices:
                kind = eval(str(parameter.annotation), vars(typing))  # noqa: S307
                literal = typing.get_args(kind)[0]
                assert list(typing.get_args(literal)) == choices[name], f"{function}: {name}"
                checked += 1
    assert checked >= len(choices)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'strat'"):
        swa_tools.average("a", "b", strat=3)  # type: ignore[call-arg]
