"""Every error has a code of its own, a title, and one status on the API."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from pixelflow.contracts import errors
from pixelflow.controlplane.api.problems import STATUSES, status_of


def tree(root: type[errors.PixelflowError]) -> Iterator[type[errors.PixelflowError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


ERRORS = list(tree(errors.PixelflowError))
GROUPS = {errors.PixelflowError, errors.RequestError, errors.JobError, errors.SourceError,
          errors.TransformError, errors.TargetError}  # fmt: skip
"""Never raised themselves by what knows better; they have their parent's code."""
RAISED = [error for error in ERRORS if error not in GROUPS]


@pytest.mark.parametrize("error", ERRORS)
def test_a_code_is_a_lower_case_word_that_can_stand_in_a_urn(error: type[errors.PixelflowError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("error", ERRORS)
def test_a_title_is_one_sentence_without_a_full_stop(error: type[errors.PixelflowError]) -> None:
    assert re.fullmatch(r"[A-Z][^.\n]{5,80}", error.title)


@pytest.mark.parametrize("error", RAISED)
def test_what_is_raised_has_a_code_of_its_own(error: type[errors.PixelflowError]) -> None:
    assert "code" in vars(error)


def test_no_two_errors_share_a_code_but_the_one_that_is_told_by_the_api_and_by_the_worker() -> None:
    counted = Counter(error.code for error in RAISED)
    assert [code for code, times in counted.items() if times > 1] == ["source_too_large"]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_status(error: type[errors.PixelflowError]) -> None:
    status = status_of(error)
    if issubclass(error, errors.DependencyError):
        assert status == 503
    elif issubclass(error, errors.RequestError) and error is not errors.RequestError:
        assert 400 <= status < 500
        assert error in STATUSES, "an error of a request without a row of its own would be told as ours"
    else:
        assert status == 500


@pytest.mark.parametrize("error", [error for error in ERRORS if issubclass(error, errors.SourceError)])
def test_an_unusable_source_is_never_tried_again(error: type[errors.PixelflowError]) -> None:
    assert not error.retryable


def test_a_transform_is_tried_again_only_where_another_try_may_end_otherwise() -> None:
    transforms = {error.code for error in ERRORS if issubclass(error, errors.TransformError) and error.retryable}
    assert transforms == {"transform_crashed"}


@pytest.mark.parametrize("error", [error for error in ERRORS if issubclass(error, errors.DependencyError)])
def test_a_server_that_did_not_answer_is_asked_again(error: type[errors.PixelflowError]) -> None:
    assert error.retryable


def test_an_error_tells_its_detail_and_nothing_else() -> None:
    assert str(errors.StepFailedError("The text does not fit", step_id="mark")) == "The text does not fit"
