"""Files and folders are written completely or not at all, readers name the stage that writes a file, and hashes are stable."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import StageOutputError
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from tests.folders import sha256_of_folder

# Training, which another test may have done before, flushes subnormal numbers to zero.
reals = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | reals | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_json_reads_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "some" / "value.json"
    write_json(path, value)
    assert read_json(path, made_by="prepare") == value


def test_json_keeps_the_order_of_keys_and_does_not_escape_other_scripts(tmp_path):
    write_json(tmp_path / "value.json", {"zh": "好", "ar": "جيد"})
    assert (tmp_path / "value.json").read_text(encoding="utf-8") == '{\n  "zh": "好",\n  "ar": "جيد"\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_value_that_json_cannot_express_leaves_the_old_file_unchanged(tmp_path, value):
    write_json(tmp_path / "value.json", {"before": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "value.json", {"after": value})
    assert read_json(tmp_path / "value.json", made_by="prepare") == {"before": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]


def test_a_missing_file_is_reported_with_the_stage_that_writes_it(tmp_path):
    with pytest.raises(StageOutputError, match=r"labels\.json: missing; write it with `dvc repro prepare`$") as error:
        read_json(tmp_path / "labels.json", made_by="prepare")
    assert (error.value.path, error.value.stage, error.value.damage) == (tmp_path / "labels.json", "prepare", "")


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe\x00"])
def test_a_damaged_file_is_reported_with_the_stage_that_writes_it(tmp_path, content):
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(StageOutputError, match=r"\(not JSON\); write it again with `dvc repro --force prepare`$") as error:
        read_json(tmp_path / "labels.json", made_by="prepare")
    assert error.value.damage


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    with fresh_folder(tmp_path / "outs" / "raw") as folder:
        (folder / "rows").write_text("rows")
        assert not (tmp_path / "outs" / "raw").exists()
    assert (tmp_path / "outs" / "raw" / "rows").read_text() == "rows"
    assert [path.name for path in (tmp_path / "outs").iterdir()] == ["raw"]


def test_a_new_folder_holds_nothing_of_the_old_one(tmp_path):
    for name in ("old", "new"):
        with fresh_folder(tmp_path / "raw") as folder:
            (folder / name).touch()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_could_not_be_filled_leaves_only_the_old_one(tmp_path, error):
    with fresh_folder(tmp_path / "raw") as folder:
        (folder / "old").touch()

    def half():
        with fresh_folder(tmp_path / "raw") as folder:
            (folder / "half").touch()
            raise error

    with pytest.raises(error):
        half()
    assert [path.name for path in tmp_path.rglob("*")] == ["raw", "old"]


def test_files_left_by_a_killed_process_are_not_kept(tmp_path):
    (tmp_path / "raw.partial").mkdir()
    (tmp_path / "raw.partial" / "half").touch()
    with fresh_folder(tmp_path / "raw") as folder:
        (folder / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["raw", "new"]


def test_the_hash_of_a_file_is_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


NAMES = ["b", "a/b", "a/c", *(f"a/{letter}{number}" for letter in "zqxm" for number in (5, 1, 3))]


@pytest.fixture
def tree(tmp_path):
    for name in NAMES:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return tmp_path / "tree"


def test_the_hash_of_a_folder_covers_its_files_sorted_by_name(tree):
    lines = [f"{name}\0{sha256_of_file(tree / name)}\n" for name in sorted(NAMES)]
    assert sha256_of_folder(tree) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_hash_of_a_folder_depends_only_on_names_and_contents(tree):
    before = sha256_of_folder(tree)
    copy = tree.with_name("elsewhere")
    for name in NAMES[::-1]:  # made in another order, at another time
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(name)
    assert sha256_of_folder(copy) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "a" / "b").write_text("other"),
        lambda tree: (tree / "b").rename(tree / "z"),
        lambda tree: (tree / "b").rename(tree / "a" / "z"),
        lambda tree: (tree / "a" / "c").unlink(),
        lambda tree: (tree / "new").touch(),
        lambda tree: [(tree / "b").write_text("a/b"), (tree / "a" / "b").write_text("b")],
    ],
    ids=["content", "name", "folder", "gone", "new", "swapped"],
)
def test_the_hash_of_a_folder_changes_with_any_of_its_files(tree, change):
    before = sha256_of_folder(tree)
    change(tree)
    assert sha256_of_folder(tree) != before


def test_the_hash_of_a_value_does_not_depend_on_the_order_of_its_keys():
    assert sha256_of_json({"a": 1, "b": [2, "好"]}) == sha256_of_json({"b": [2, "好"], "a": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})
    assert sha256_of_json([1, 2]) != sha256_of_json([2, 1])
