"""The comparer: passes what is equal, names what is not, and never passes on nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recurrent_files import Shape, spec_of

from rnnport.errors import RequestError, UnavailableError, UnsupportedModelError
from rnnport.parity.cases import Case, grid
from rnnport.parity.compare import compare
from rnnport.spec import ModelSpec, StateSpec, TensorSpec

SPEC = ModelSpec(
    inputs=(
        TensorSpec("x", "float32", ("batch", "time", 2), 0, 1),
        TensorSpec("lengths", "int64", ("batch",), 0),
        TensorSpec("state", "float32", ("batch", 2), 0),
    ),
    outputs=(
        TensorSpec("y", "float32", ("batch", "time", 2), 0, 1),
        TensorSpec("next", "float32", ("batch", 2), 0),
    ),
    states=(StateSpec("state", "next", "float32", ("batch", 2)),),
    lengths="lengths",
)
CASES = grid(SPEC)


class Decay:
    """y(t) = ½·y(t-1) + x(t): small, recurrent, and easy to get wrong on purpose."""

    def __init__(self, name="decay", change=None, dtype=np.float32):
        self.name = name
        self.change = change or (lambda answers, feeds: answers)
        self.dtype = dtype

    def spec(self):
        return SPEC

    def run(self, feeds):
        x, state = feeds["x"].astype(self.dtype), feeds["state"].astype(self.dtype)
        y = np.zeros_like(x)
        for step in range(x.shape[1]):
            alive = (step < feeds["lengths"])[:, None]
            state = np.where(alive, state / 2 + x[:, step], state)
            y[:, step] = np.where(alive, state, 0)
        return self.change({"y": y, "next": state}, feeds)


def changed(function):
    """An engine whose answers are changed by a function of (answers, feeds)."""

    def change(answers, feeds):
        function(answers, feeds)
        return answers

    return Decay("changed", change)


def test_an_engine_equals_itself():
    report = compare(Decay(), Decay(), CASES)
    assert report.ok
    assert report.cases == len(CASES)
    assert report.largest < 1e-6
    assert {group.verdict for group in report.groups()} == {"ok"}
    assert len(report.groups()) == 10  # whole and chunked × lengths × states, and rows alone


@given(
    case=st.sampled_from([c for c in CASES if c.time > 1]),
    position=st.integers(0, 10**6),
    times=st.floats(1.01, 1e6),
    sign=st.sampled_from((-1, 1)),
)
def test_any_single_element_beyond_its_bound_fails_and_is_named(case, position, times, sign):
    whole = case.time

    def disturb(answers, feeds):
        if feeds["x"].shape[:2] == (case.batch, whole):
            at = np.unravel_index(position % answers["y"].size, answers["y"].shape)
            bound = 1e-3 + 1e-3 * abs(float(answers["y"][at]))
            answers["y"][at] += sign * times * bound

    alone = Case(case.batch, whole, case.lengths, None, case.states, case.seed)
    report = compare(Decay(), changed(disturb), [alone], atol=1e-3, rtol=1e-3)
    assert not report.ok
    found = next(item for item in report.failures if item.way == "whole")
    index = tuple(
        int(i) for i in np.unravel_index(position % found.elements, (case.batch, whole, 2))
    )
    assert (found.output, found.worst.index) == ("y", index)
    assert found.first_beyond == index[1]
    assert found.worst.error == pytest.approx(times * found.worst.bound, rel=0.02)


@given(times=st.floats(0.0, 0.97), seed=st.integers(0, 99))
def test_errors_within_the_bound_pass(times, seed):
    def disturb(answers, feeds):
        bound = 1e-3 + 1e-3 * np.abs(answers["y"])
        answers["y"] += np.float32(times) * bound * np.where(answers["y"] > 0, 1, -1)

    case = Case(2, 5, (5, 5), None, "zero", seed)
    assert compare(Decay(), changed(disturb), [case], atol=1e-3, rtol=1e-3).ok


@given(case=st.sampled_from(CASES), value=st.sampled_from((np.nan, np.inf, -np.inf)))
def test_nan_and_infinity_fail_whatever_the_tolerance(case, value):
    report = compare(
        Decay(), changed(lambda a, f: a["y"].__setitem__((0, 0, 0), value)), [case], atol=1e9
    )
    assert not report.ok
    assert report.needed_atol is None


def test_nan_on_both_sides_proves_nothing():
    engine = changed(lambda a, f: a["y"].fill(np.nan))
    report = compare(engine, engine, CASES[:1])
    assert not report.ok
    assert "answers NaN, first at [0, 0, 0]" in report.failures[0].problem


def test_equal_infinities_are_equal():
    engine = changed(lambda a, f: a["y"].__setitem__((0, 0, 0), -np.inf))
    assert compare(engine, engine, [Case(1, 2, (2,))]).ok


def test_zero_cases_fail():
    report = compare(Decay(), Decay(), [])
    assert not report.ok
    assert report.summary() == "nothing was compared, and that is a failure"


def test_empty_outputs_fail():
    engine = Decay("empty", lambda a, f: {name: array[:0] for name, array in a.items()})
    assert not compare(engine, engine, CASES[:1]).ok


def test_a_changed_dtype_fails():
    report = compare(
        Decay(), Decay("double", lambda a, f: {**a, "y": a["y"].astype(np.float64)}), CASES
    )
    assert not report.ok
    assert report.failures[0].problem == "dtype float64 instead of float32"


def test_a_changed_shape_fails():
    report = compare(Decay(), Decay("flat", lambda a, f: {**a, "y": a["y"][:, :, :1]}), CASES)
    assert "shape [1, 1, 1] instead of [1, 1, 2]" in {item.problem for item in report.failures}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a, f: {"y": a["y"]}, "the candidate has no such output"),
        (lambda a, f: {**a, "more": a["y"]}, "the reference has no such output"),
    ],
)
def test_an_unequal_number_of_outputs_fails(change, problem):
    report = compare(Decay(), Decay("other", change), [Case(1, 3, (3,))])
    assert not report.ok
    assert [item.problem for item in report.failures] == [problem]


def test_whole_numbers_are_compared_exactly():
    def label(answers, feeds, shift=0):
        return {**answers, "label": np.full(len(answers["y"]), 2**60 + shift)}

    one = Decay("one", label)
    report = compare(one, Decay("two", lambda a, f: label(a, f, 1)), [Case(2, 3, (3, 3))], atol=9.0)
    assert [item.output for item in report.failures] == ["label"]
    assert compare(one, one, [Case(2, 3, (3, 3))]).ok


def test_engines_with_other_inputs_are_not_compared():
    class Other(Decay):
        def spec(self):
            return spec_of(Shape())

    with pytest.raises(RequestError, match=r"takes \['lengths', 'state', 'x'\]"):
        compare(Other(), Decay(), CASES)


class Limited(Decay):
    """Refuses some cases, as an engine does that would answer them wrongly."""

    def __init__(self, refuses, error=UnsupportedModelError):
        super().__init__("limited")
        self.refuses, self.error = refuses, error

    def run(self, feeds):
        if self.refuses(feeds):
            raise self.error("no lengths here")
        return super().run(feeds)


def test_a_refused_case_is_reported_and_not_counted():
    report = compare(Decay(), Limited(lambda f: (f["lengths"] != f["x"].shape[1]).any()), CASES)
    assert report.ok
    assert {r.case for r in report.refusals} == {case for case in CASES if case.ragged}
    assert all(not item.case.ragged for item in report.comparisons)
    assert "refused by limited: no lengths here" in list(report.remarks())


def test_all_cases_refused_is_a_failure():
    report = compare(Decay(), Limited(lambda f: True), CASES)
    assert not report.ok
    assert "nothing was compared" in report.summary()


def test_a_case_that_only_fails_to_run_is_a_failure():
    report = compare(Decay(), Limited(lambda f: len(f["x"]) == 7, UnavailableError), CASES)
    assert not report.ok
    assert report.failures[0].problem == "did not run: no lengths here"


def test_a_case_that_the_reference_refuses_is_not_counted():
    report = compare(Limited(lambda f: len(f["x"]) == 7), Decay(), CASES)
    assert report.ok
    assert {case.batch for case in CASES} - {i.case.batch for i in report.comparisons} == {7}


def test_the_bound_widens_to_four_times_the_references_own_rounding_and_says_so():
    case = [Case(1, 3, (3,))]
    rough = changed(lambda a, f: a["y"].__iadd__(np.float32(0.01)))
    far = changed(lambda a, f: a["y"].__iadd__(np.float32(0.045)))
    too_far = changed(lambda a, f: a["y"].__iadd__(np.float32(0.055)))
    precise = Decay("precise", dtype=np.float64)
    assert not compare(rough, far, case).ok
    report = compare(rough, far, case, precise=precise)
    assert report.ok
    assert [item.output for item in report.widened] == ["y"]
    assert "four times the reference's own rounding error" in next(report.remarks())
    assert not compare(rough, too_far, case, precise=precise).ok


def test_the_bound_does_not_widen_for_a_reference_that_is_precise_enough():
    report = compare(Decay(), Decay(), CASES, precise=Decay("precise", dtype=np.float64))
    assert report.ok
    assert report.widened == ()


def test_growth_over_time_is_told():
    def drift(answers, feeds):
        steps = np.arange(answers["y"].shape[1], dtype=np.float32)
        answers["y"] += 1e-6 * steps[:, None] ** 2

    report = compare(Decay(), changed(drift), [Case(1, 40, (40,))])
    worst = report.worst
    first, middle, last = worst.quarters()
    assert first < middle < last
    assert last == pytest.approx(39**2 * 1e-6, rel=0.05)
    assert 3 < worst.first_beyond < 12
    assert len(worst.profile) == 40


def test_the_tolerance_that_would_have_passed_passes():
    noise = changed(lambda a, f: a["y"].__iadd__(np.float32(0.0123)))
    report = compare(Decay(), noise, CASES)
    assert report.needed_atol == pytest.approx(0.0123, rel=0.01)
    assert compare(Decay(), noise, CASES, atol=report.needed_atol * 1.001).ok
    assert not compare(Decay(), noise, CASES, atol=report.needed_atol * 0.99).ok
    assert "would have passed with --atol 0.013" in "".join(report.lines())


def test_a_state_that_is_not_fed_back_fails_in_chunks_alone():
    forgets = changed(lambda a, f: a["next"].__imul__(f["x"].shape[1] != 1))
    report = compare(Decay(), forgets, [Case(2, 4, (4, 4), (1, 3))])
    assert {item.way for item in report.failures} == {"chunked"}


def test_an_answer_that_depends_on_the_rows_beside_it_fails():
    def leak(answers, feeds):
        answers["y"] += np.float32(0.1) * (feeds["lengths"].max() - feeds["lengths"])[:, None, None]

    report = compare(changed(leak), changed(leak), [Case(2, 4, (2, 4))])
    assert report.ok  # the reference does the same: a property of the model, and a note says so
    assert "padding changes 'y' in changed itself" in report.notes[0]
    report = compare(Decay(), changed(leak), [Case(2, 4, (2, 4))])
    assert "alone" in {item.way for item in report.failures}


def test_the_row_that_padding_changes_is_named():
    def leak(answers, feeds):
        if len(answers["y"]) == 3:
            answers["y"][1, 0, 1] += 1.0

    report = compare(Decay(), changed(leak), [Case(3, 4, (4, 2, 4))])
    alone = next(item for item in report.failures if item.way == "alone")
    assert alone.worst.index == (1, 0, 1)
