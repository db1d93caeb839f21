"""Errors of attempts: stored with the job and shown to its owner."""

from __future__ import annotations

from pixelflow.errors.pixelflow_error import Fault, PixelflowError


class JobError(PixelflowError):
    """An attempt failed. ``step_id`` is the step that failed, if a step did."""

    def __init__(self, detail: str, *, step_id: str | None = None) -> None:
        super().__init__(detail)
        self.step_id = step_id
        self.compute_time_ms: int | None = None
        """Processor time of the transform in milliseconds, if it was measured."""


class SourceError(JobError):
    """The source can't be used. Permanent, unless ``retryable``."""


class SourceGoneError(SourceError):
    code = "source_gone"
    title = "The source no longer exists"


class SourceChangedError(SourceError):
    code = "source_changed"
    title = "The source is not the one that the job was started with"


class SourceNotFoundError(SourceError):
    code = "source_not_found"
    title = "The bucket has no such object"


class SourceNotAllowedError(SourceError):
    code = "source_not_allowed"
    title = "The source can't be read from this bucket"


class SourceUrlRefusedError(SourceError):
    code = "source_url_refused"
    title = "The source can't be fetched from this URL"


class SourceUrlStatusError(SourceError):
    code = "source_url_status"
    title = "The server of the source refuses to send it"


class SourceUrlUnavailableError(SourceError):
    """The server of the source failed. It may be any server, so the attempt counts; other jobs are not affected."""

    code = "source_url_unavailable"
    title = "The server of the source does not send it"
    retryable = True
    fault = Fault.SOURCE


class SourcePostponedError(SourceError):
    """The worker fetches as many sources of this user by URL, or from this server, as it may at a time."""

    code = "source_postponed"
    title = "Other sources are fetched first"
    retryable = True
    fault = Fault.SERVICE


class SourceOverLimitError(SourceError):
    code = "source_too_large"
    title = "The source exceeds the size limit"


class UnsupportedFormatError(SourceError):
    code = "unsupported_format"
    title = "The source is not an image in a supported format"


class UndecodableError(SourceError):
    code = "undecodable"
    title = "The source is corrupt or truncated"


class TooManyPixelsError(SourceError):
    code = "too_many_pixels"
    title = "The source exceeds the pixel limit"


class TooManyScansError(SourceError):
    code = "too_many_scans"
    title = "The progressive source exceeds the limit of scans"


class AssetGoneError(SourceError):
    code = "asset_gone"
    title = "An asset of the job no longer exists"


class DestinationRefusedError(JobError):
    code = "destination_refused"
    title = "The destination's bucket refuses the outputs"


class DestinationExistsError(JobError):
    code = "destination_exists"
    title = "An object exists at the destination"


class TransformError(JobError):
    """The transform of a valid source failed."""


class OutputTooLargeError(TransformError):
    code = "output_too_large"
    title = "The output of a step would exceed a size limit"


class StepFailedError(TransformError):
    code = "step_failed"
    title = "A step can't be applied to this image"


class TransformTimeoutError(TransformError):
    code = "transform_timeout"
    title = "The transform exceeded the time limit"


class OutOfMemoryError(TransformError):
    """Not retryable: the next attempt would have the same limit."""

    code = "out_of_memory"
    title = "The transform exceeded the memory limit"


class TransformCrashedError(TransformError):
    code = "transform_crashed"
    title = "The transform process crashed"
    retryable = True
    fault = Fault.CHILD

    def __init__(self, detail: str, *, step_id: str | None = None, signal: str | None = None) -> None:
        super().__init__(detail, step_id=step_id)
        self.signal = signal
        """Name of the signal by which native code crashed, such as ``SIGSEGV``; ``None`` if the process ended else."""


class DecoderCrashedError(TransformError):
    """The last attempt of a job crashed native code: a decoder on this source, most likely. Another run is no use."""

    code = "decoder_crashed"
    title = "The source crashes the code that decodes it"


class TransformPostponedError(TransformError):
    """The user's images crashed too many children. The job must not run again within ``retry_after_seconds``."""

    code = "transform_postponed"
    title = "The user's images crash the transform process too often"
    retryable = True
    fault = Fault.SERVICE

    def __init__(self, detail: str, *, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class AttemptsExhaustedError(JobError):
    code = "attempts_exhausted"
    title = "The job has no attempts left"


class ServiceUnavailableError(JobError):
    """A backing service or the workers' machines failed for longer than a job may wait."""

    code = "service_unavailable"
    title = "The service was unavailable for too long"
