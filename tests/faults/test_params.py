"""Whatever params.yaml contains, the stages read the same as DVC or soon report each fault in one line."""

import os
import re
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from faults.bounds import bounded
from faults.record import record, tries
from mlp.errors import InputError
from pipeline.params import load
from pipeline.params.complete import Params

DEFAULTS = (ROOT / "params.yaml").read_text(encoding="utf-8")
# around the value of train_deep.epochs
((BEFORE, VALUE, AFTER),) = re.findall(r"(.*\ntrain_deep:\n.*?)epochs: (\d+)\n(.*)", DEFAULTS, re.DOTALL)
LINE = len(BEFORE.splitlines())  # of the value
with pytest.raises(ValueError, match=r"month must be in 1\.\.12") as IMPOSSIBLE:  # Python 3.14 says more
    date(2020, 99, 99)
HOSTILE = [
    "9" * 5000,
    "0x" + "f" * 900,
    "[" * 3000 + "]" * 3000,
    "- " * 300,
    "{" * 12 + "}" * 12,
    "!!int ''",
    "!!binary aGk=",
    "!!python/name:os.system",
    "2020-99-99",
    "0001-01-01T00:00:00+99:99",
    "-_",
    "0b_",
    "&x [*x]",
    "*unknown",
    "9223372036854775808",
    "1e400",
    "{[a]: 1}",
    "? {a: b}",
    "'\0'",
    '"\\0"',
    '"\\ud800"',
    "<<",
    "=",
    "%",
    "\t",
    "\x85",
    "1\nepochs: 2",
    "1\n---\na: 1",
    "\x1b[31m",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("params") / "params.yaml"


def outcome(path: Path, content: bytes) -> tuple[str, str]:
    """Returns `as_asked` if DVC reads the same from the file, or `refused` and the message."""
    path.write_bytes(content)
    try:
        with bounded():
            params = load(Params, path)
    except InputError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 11
        assert all(line.startswith(str(path)) and len(line) < 400 and line.isprintable() for line in lines)
        return "refused", str(error).replace(str(path), "params.yaml")
    assert params.model_dump() == parse_yaml(path.read_text(encoding="utf-8"), path)
    return "as_asked", ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("9" * 5000, ", line LINE: a value of more than 1,000 characters; allowed: at most 1,000"),
        ("[" * 3000 + "]" * 3000, ", line LINE: more than 10 nested groups or lists; allowed: at most 10"),
        ("!!int ''", ", line LINE: a tag (!); allowed: none"),
        ("2020-99-99", f", line LINE: not YAML: '2020-99-99': {IMPOSSIBLE.value}"),
        ("-_", ", line LINE: not YAML: '-_': invalid literal for int() with base 10: ''"),
        ("1\n  epochs: 2", ', line NEXT: not YAML: found duplicate key "epochs" with value "2" (original value: "1")'),
        ("{[a]: 1}", ": train_deep.epochs is {('a',): 1}; allowed: an integer from 1 to 1000000000"),
        ("{{a: b}: 1}", ", line LINE: not YAML: found unhashable key"),
        ("9" * 1000, f": train_deep.epochs is {'9' * 100}...; allowed: an integer from 1 to 1000000000"),
        (f"[{'1, ' * 900}]", f": train_deep.epochs is [{'1, ' * 32}1,...; allowed: an integer from 1 to 1000000000"),
        ("9223372036854775808", ": train_deep.epochs is 9223372036854775808; allowed: an integer from 1 to 1000000000"),
    ],
)
def test_a_hostile_value_is_reported_in_one_short_line(path: Path, value: str, message: str) -> None:
    message = message.replace("LINE", str(LINE)).replace("NEXT", str(LINE + 1))
    assert outcome(path, f"{BEFORE}epochs: {value}\n{AFTER}".encode())[1] == f"params.yaml{message}"


def test_exponential_aliases_are_rejected_before_they_expand(path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, inner in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{inner}'] * 9)}]")
    assert outcome(path, "\n".join(lines).encode())[1] == "params.yaml, line 2: an alias (*); allowed: none"


@pytest.mark.parametrize("line", ["x" * 100, "[" * 100, "- " * 50, "a: ", "# comment"])
def test_a_file_of_a_megabyte_is_rejected_before_it_is_parsed(path: Path, line: str) -> None:
    found = outcome(path, f"{line}\n".encode() * (1_000_000 // len(line)))[1]
    assert found == "params.yaml: more than 50,000 bytes; allowed: at most that many"


@pytest.mark.slow
def test_a_file_as_large_as_allowed_is_read_in_time(path: Path) -> None:
    assert outcome(path, DEFAULTS.encode() + b"more: [" + b"1," * 24_000 + b"]\n")[0] == "refused"
    assert outcome(path, b"".join(b"k%d: 1\n" % number for number in range(5000)))[0] == "refused"


def test_the_first_ten_of_many_invalid_keys_are_reported(path: Path) -> None:
    text = DEFAULTS + "".join(f"key{number}: 1\n" for number in range(30))
    lines = outcome(path, text.encode())[1].splitlines()
    assert len(lines) == 11
    assert lines[-1] == "params.yaml: 20 more keys are wrong"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \xff", DEFAULTS.encode("utf-16"), b"a: 1\x00"])
def test_a_file_that_is_not_utf_8_is_rejected_in_one_line(path: Path, content: bytes) -> None:
    assert outcome(path, content)[1].startswith("params.yaml: not YAML: ")


def test_a_byte_order_mark_is_not_part_of_the_first_key(path: Path) -> None:
    assert outcome(path, b"\xef\xbb\xbf" + DEFAULTS.encode())[0] == "as_asked"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(InputError, match=r"params.yaml: not a regular file; needed: one"):
        load(Params, tmp_path / "params.yaml")


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Draws the project's own file with a few changes: to values, lines or bytes."""
    lines = DEFAULTS.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["value", "nested", "small", "hostile", "line", "twice", "indent"])):
            case "value":
                lines[place] = f"{lines[place].partition(': ')[0]}: {draw(st.text(max_size=30))}"
            case "nested":
                text = yaml.safe_dump(draw(nested), default_flow_style=True)
                lines[place] = f"{lines[place].partition(': ')[0]}: {text}"
            case "small":
                lines[place] = f"{lines[place].partition(': ')[0]}: {draw(st.integers(1, 20) | st.floats(0, 1))}"
            case "hostile":
                lines[place] = f"{lines[place].partition(': ')[0]}: {draw(st.sampled_from(HOSTILE))}"
            case "line":
                del lines[place]
                lines = lines or [""]
            case "twice":
                lines.insert(place, lines[place])
            case "indent":
                lines[place] = f"{' ' * draw(st.integers(0, 4))}{lines[place].lstrip()}"
    content = bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 5]))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


def test_any_params_file_is_read_as_by_dvc_or_rejected(path: Path) -> None:
    found: Counter[str] = Counter()

    @tries(100, 2000)
    @given(contents())
    def once(content: bytes) -> None:
        found[outcome(path, content)[0]] += 1

    once()
    record("params.yaml with values, lines or bytes changed", found.total(), **found)
