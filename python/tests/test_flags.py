"""Every flag of the commands is a parameter, and every choice of one is in its type."""

from __future__ import annotations

import inspect
import operator
import re
import subprocess
import typing

import pytest
import swa_tools
from conftest import tool

EVALUATED = {"data": "data", "shard": "shard"}
#: Which functions offer the flags of which command, and which flags are another parameter, or a function's own (None).
COMMANDS: dict[str, dict[str, dict[str, str | None]]] = {
    "swa-avg": {
        "average": {"output": "output", "weights_file": "weights"},
        "average_part": {"output": "output", "weights_file": "weights", "shard": "shard"},
        "finish": {"finish": "output"},
        "accumulate": {"output": "output", "state": "state"},
        "follow": {"output": "output", "follow": None},
        "contents": {"list": None},
        "state_contents": {"list": None},
        "verify": {"verify": None},
    },
    "swa-bn-update": {
        "update_bn": {"data": "data", "output": "output"},
        "update_bn_part": {**EVALUATED, "save_stats": "part"},
        "merge_stats": {"merge_stats": "parts", "output": "output"},
    },
    "swa-eval": {
        "evaluate": {"data": "data"},
        "evaluate_part": {**EVALUATED, "save_outcomes": "part"},
        "merge_outcomes": {"merge_outcomes": "parts"},
        "compare_stats": {"compare_stats": None, "data": "data", "bn_data": "bn_data", "last": "last"},
        "sample_swag": {"swag_samples": "draws", "data": "data"},
        "soup": {"soup": "output", "data": "data"},
    },
    "swa-train": {"train": {"data": "data", "epochs": "epochs", "lr": "lr"}},
    "swa-landscape plane": {
        "landscape.plane": {"data": "data"},
        "landscape.plane_part": {**EVALUATED, "save_points": "part"},
    },
    "swa-landscape line": {
        "landscape.line": {"data": "data"},
        "landscape.line_part": {**EVALUATED, "save_points": "part"},
    },
    "swa-landscape rays": {
        "landscape.rays": {"data": "data"},
        "landscape.rays_part": {**EVALUATED, "save_points": "part"},
    },
    "swa-landscape merge": {"landscape.merge": {}},
    "swa-landscape draw": {"landscape.draw": {}},
    "swa-landscape curves": {"landscape.curves": {"svg": "svg"}},
}
#: Of a terminal. Reports hold the coefficients without being asked.
TERMINAL = {"json", "quiet", "help", "version", "list_archs", "explain"}


def flags(command: str) -> dict[str, list[str]]:
    """The flags in a command's help, each with its choices."""
    words = command.split()
    text = subprocess.run([tool(words[0]), *words[1:], "--help"], capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if flag := re.match(r" +(?:-\w, )?--([a-z-]+)", line):
            name = flag[1].replace("-", "_")
            found[name] = []
        elif choice := re.match(r" +- ([\w-]+): ", line):
            found[name].append(choice[1])
    assert len(found) > 5
    return found


def function(name: str) -> typing.Any:
    return operator.attrgetter(name)(swa_tools)


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function(name)).parameters)


def options(name: str) -> dict[str, inspect.Parameter]:
    """Those of its TypedDict, each a flag of the same name."""
    code = function(name).__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {option: parameter for option, parameter in parameters(name).items() if option not in own}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_a_parameter(command: str) -> None:
    known = set(TERMINAL)
    for name, others in COMMANDS[command].items():
        known |= {*options(name), *others}
        for parameter in others.values():
            assert parameter is None or parameter in parameters(name), f"{name}: {parameter}"
    missing = set(flags(command)) - known
    assert missing == set(), "add them to swa_tools/_options.py"


def test_every_function_is_tested_here() -> None:
    tested = {name for functions in COMMANDS.values() for name in functions}
    public = [swa_tools.__all__, [f"landscape.{name}" for name in swa_tools.landscape.__all__]]
    ours = {name for names in public for name in names if inspect.isfunction(function(name))}
    assert ours - tested == {"average_state_dicts"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_a_flag(command: str) -> None:
    known = set(flags(command))
    for name, others in COMMANDS[command].items():
        assert set(options(name)) | set(others) <= known, name


@pytest.mark.parametrize("command", COMMANDS)
def test_choices_are_those_of_the_command(command: str) -> None:
    # How progress is shown is a parameter of another kind.
    choices = {name: c for name, c in flags(command).items() if c and name != "progress"}
    offered = set()
    for name in COMMANDS[command]:
        for option, parameter in options(name).items():
            annotation = eval(str(parameter.annotation), vars(typing) | {"Path": str, "Sequence": list, "Reporter": str})
            literals = [kind for kind in typing.get_args(annotation) if typing.get_origin(kind) is typing.Literal]
            found = [list(typing.get_args(kind)) for kind in literals]
            assert found == ([choices[option]] if option in choices else []), f"{name}: {option}"
            offered.add(option)
    assert set(choices) <= offered


def value(annotation: str) -> typing.Any:
    """What an option of a type may be given."""
    if choice := re.match(r"Literal\['\"](\w+)", annotation):
        return choice[1]
    for kind, example in (("bool", True), ("int", 1), ("float", 0.5), ("Sequence[float]", [0.5]), ("tuple", (1, 2))):
        if annotation.startswith(kind):
            return example
    return "x"


#: Needed by an option, or by the function where nothing else does it.
BESIDE: dict[str, dict[str, typing.Any]] = {
    "ack": {"state": "x"},
    "class_map_restrict": {"class_map": "x"},
    "top": {"metrics": "x", "by": "x:max"},
    "by": {"metrics": "x", "by": "x:max"},
    "metrics": {"by": "x:max"},
    "swad": {"metrics": "x"},
    "metrics_number": {"metrics": "x", "by": "x:max"},
    **{f"swad_{name}": {"metrics": "x", "swad": "x"} for name in ("converge", "overfit", "tolerance")},
    "devices": {"devices": "cpu,cpu"},
    "device": {"device": "cpu"},
    "scheme": {"scheme": "mean"},
    "snapshot_sigma": {"scheme": "posthoc-ema:0.1"},
    "times": {"scheme": "posthoc-ema:0.1"},
    "max_shard_size": {"max_shard_size": "1GB"},
    "memory": {"memory": "1GB"},
}


def arguments(name: str) -> list[typing.Any]:
    """What a function must be given: nothing that is there."""
    found: list[typing.Any] = []
    for parameter in parameters(name).values():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            examples = {"shard": "0/2", "draws": 1, "parts": ["x"], "models": ["x", "y", "z"]}
            found.append(examples.get(parameter.name, "x"))
    if name.startswith("landscape.line"):
        found[0] = ["x", "y"]
    return found


#: What a function needs to do anything, and to end.
MUST: dict[str, dict[str, typing.Any]] = {
    "train": {"epochs": 1, "lr": 0.1},
    "follow": {"idle": 0.01, "poll": 0.01},
}
#: Options that do not go with others of their function.
ALONE = ("ema", "devices", "resume")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_can_be_used(command: str, here: typing.Any) -> None:
    """With files that do not exist: the command refuses no option of a function as one that does not go with it."""
    for name in COMMANDS[command]:
        examples = {o: value(str(p.annotation)) for o, p in options(name).items() if o != "progress"}
        # Commands with libtorch take a while to start: most options at once.
        apart = [option for option in examples if command == "swa-avg" or option in ALONE]
        together = {option: example for option, example in examples.items() if option not in apart}
        for given in (together, *({option: examples[option]} for option in apart)):
            for option in list(given):
                given.update(BESIDE.get(option, {}))
            given.update(MUST.get(name, {}))
            try:
                function(name)(*arguments(name), **given)
            except swa_tools.SwaError as error:
                refused = re.search("cannot be used with|do(es)? not go|unexpected argument|neither shared", str(error))
                assert not refused, f"{name}: {list(given)}: {error}"


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'strat'"):
        swa_tools.average("a", "b", strat=3)  # type: ignore[call-arg]
