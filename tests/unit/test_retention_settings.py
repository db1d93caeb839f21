"""Inconsistent retention periods are refused when a process starts."""

from __future__ import annotations

import pytest

from pixelflow.settings import SettingsError, load

SET = {
    "PIXELFLOW_DATABASE_URL": "postgresql://h/d",
    "PIXELFLOW_REDIS_URL": "redis://h",
    "PIXELFLOW_S3_ENDPOINT_URL": "http://h",
    "PIXELFLOW_S3_BUCKET": "b",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "k",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": "s",
}
SOURCE, OUTPUT, JOB = (f"PIXELFLOW_RETENTION_{name}_DAYS" for name in ("SOURCE", "OUTPUT", "JOB"))
UPLOAD, HISTORY = (f"PIXELFLOW_RETENTION_{name}_DAYS" for name in ("UPLOAD", "HISTORY"))
WEEK = {"PIXELFLOW_UPLOAD_URL_SECONDS": str(7 * 86_400)}


def test_a_finished_job_keeps_its_files_by_default() -> None:
    settings = load(SET)
    kept = (settings.retention_source_days, settings.retention_output_days, settings.retention_job_days)
    assert kept == (None, None, None)
    assert (settings.retention_upload_days, settings.retention_history_days) == (7, 90)


@pytest.mark.parametrize(
    "days",
    [
        {SOURCE: "0.09"},
        {SOURCE: "1", OUTPUT: "30", JOB: "30"},
        {JOB: "1"},
        {SOURCE: "30"},
        WEEK,
        WEEK | {JOB: "8"},
    ],
)
def test_consistent_periods_are_accepted(days: dict[str, str]) -> None:
    load(SET | days)


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        (
            {SOURCE: "0.08"},
            f"{SOURCE} must be at least 0.083681 days: files may still arrive for so long after a job's end",
        ),
        ({OUTPUT: "0.001"}, f"{OUTPUT} must be at least 0.083681 days"),
        (WEEK | {JOB: "7"}, f"{JOB} must be at least 7.042014 days"),
        (WEEK | {UPLOAD: "6.9"}, f"{UPLOAD} must be at least 7 days: the upload URL is valid for so long"),
        ({SOURCE: "31", JOB: "30"}, f"{SOURCE} must be at most {JOB}"),
        ({OUTPUT: "31", JOB: "30"}, f"{OUTPUT} must be at most {JOB}"),
        ({SOURCE: "0"}, f"{SOURCE} is not valid"),
        ({JOB: "0.9"}, f"{JOB} is not valid"),
        ({HISTORY: "0.5"}, f"{HISTORY} is not valid"),
        ({UPLOAD: "36501"}, f"{UPLOAD} is not valid"),
        ({UPLOAD: "nan"}, f"{UPLOAD} is not valid"),
    ],
)
def test_inconsistent_periods_are_refused_by_name(days: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load(SET | days)
