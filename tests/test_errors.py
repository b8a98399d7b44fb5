"""The error tree: every class is public, documented and carries the designed exit code."""

import inspect

import pytest

from rnnport import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]


def test_all_lists_every_error_class():
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_drawn_in_the_tree_with_its_exit_code(cls):
    line = next(line for line in errors.__doc__.splitlines() if f" {cls.__name__} " in f" {line} ")
    if cls is not errors.RnnportError:
        assert str(cls.exit_code) in line.split()


@pytest.mark.parametrize(
    ("base", "code"),
    [(errors.CheckFailedError, 1), (errors.RequestError, 2), (errors.UnavailableError, 3)],
)
def test_a_branch_of_the_tree_has_one_exit_code(base, code):
    branch = [cls for cls in CLASSES if issubclass(cls, base)]
    assert len(branch) > 1
    assert {cls.exit_code for cls in branch} == {code}


def test_a_missing_extra_names_the_package_and_the_command_that_installs_it():
    error = errors.MissingExtraError("pyarrow", "data", "reading a CSV file")
    assert "pyarrow" in str(error)
    assert "pip install 'rnnport[data]'" in str(error)


def test_a_failed_import_of_no_extra_s_package_stays_itself():
    own = ModuleNotFoundError("No module named 'mine'", name="mine")
    assert errors.MissingExtraError.of(own, "training") is own
    theirs = ModuleNotFoundError("No module named 'torch'", name="torch.nn")
    made = errors.MissingExtraError.of(theirs, "training")
    assert isinstance(made, errors.MissingExtraError)
    assert made.extra == "train"
