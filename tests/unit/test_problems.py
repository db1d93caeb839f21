"""Every error has its own code, a title and an HTTP status."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from pixelflow import errors
from pixelflow.contracts.error_guide import GUIDES
from pixelflow.controlplane.api.problems import STATUSES, status_of


def tree(root: type[errors.PixelflowError]) -> Iterator[type[errors.PixelflowError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


ERRORS = list(tree(errors.PixelflowError))
GROUPS = {errors.PixelflowError, errors.RequestError, errors.JobError, errors.SourceError,
          errors.TransformError, errors.TargetError}  # fmt: skip
"""Only their subclasses are raised; they inherit their code."""
RAISED = [error for error in ERRORS if error not in GROUPS]


@pytest.mark.parametrize("error", ERRORS)
def test_a_code_is_lower_case_and_valid_in_a_urn(error: type[errors.PixelflowError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("error", ERRORS)
def test_a_title_is_one_sentence_without_a_full_stop(error: type[errors.PixelflowError]) -> None:
    assert re.fullmatch(r"[A-Z][^.\n]{5,80}", error.title)


@pytest.mark.parametrize("error", RAISED)
def test_every_error_that_is_raised_has_its_own_code(error: type[errors.PixelflowError]) -> None:
    assert "code" in vars(error)


def test_codes_are_unique_except_the_one_that_api_and_worker_share() -> None:
    counted = Counter(error.code for error in RAISED)
    assert [code for code, times in counted.items() if times > 1] == ["source_too_large"]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_status(error: type[errors.PixelflowError]) -> None:
    status = status_of(error)
    if issubclass(error, errors.DependencyError | errors.OverloadedError):
        assert status == 503
    elif issubclass(error, errors.RequestError) and error is not errors.RequestError:
        assert 400 <= status < 500
        assert error in STATUSES, "without its own entry, a request error would have status 500"
    else:
        of_dry_run = error in {errors.OutputTooLargeError, errors.StepFailedError, errors.TooManyPixelsError}
        assert status == (422 if of_dry_run else 500), "only a dry run meets an error of a job"


def test_only_errors_of_servers_of_sources_are_retryable() -> None:
    sources = {error.code for error in ERRORS if issubclass(error, errors.SourceError) and error.retryable}
    assert sources == {"source_url_unavailable", "source_postponed"}


def test_only_crashes_of_the_transform_are_retryable() -> None:
    transforms = {error.code for error in ERRORS if issubclass(error, errors.TransformError) and error.retryable}
    assert transforms == {"transform_crashed", "transform_postponed"}


@pytest.mark.parametrize("error", [error for error in ERRORS if issubclass(error, errors.DependencyError)])
def test_dependency_errors_are_retryable(error: type[errors.PixelflowError]) -> None:
    assert error.retryable


def test_the_text_of_an_error_is_its_detail() -> None:
    assert str(errors.StepFailedError("The text does not fit", step_id="mark")) == "The text does not fit"


def test_every_code_has_a_guide_and_every_guide_a_code() -> None:
    assert set(GUIDES) == {error.code for error in ERRORS}


@pytest.mark.parametrize("code", GUIDES)
def test_a_guide_has_whole_sentences(code: str) -> None:
    for text in GUIDES[code]:
        assert re.fullmatch(r"[A-Z].*\.", text), text
