"""How a job wants its source to be read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pixelflow.imaging.fields import StrictModel

MAX_FRAME = 9_999
MAX_DENSITY = 1_200


class OnDamage(StrEnum):
    """What to do with a source whose pixels are damaged or incomplete."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class SourceOptions(StrictModel):
    """Options for reading the source."""

    frame: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=MAX_FRAME,
            description="The frame of an animation, or the page of a document, to use; 0 is the first. Default: all "
            "frames for output formats with animation, otherwise the first.",
        ),
    ] = None
    density: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=MAX_DENSITY,
            description="Pixels per inch at which a document or a vector image is drawn.",
        ),
    ] = None
    on_damage: Annotated[
        OnDamage,
        Field(
            description="`refuse`: the job fails with `undecodable` if pixels are missing or damaged. `accept`: the "
            "outputs show what can be decoded, and the job has the warning `source_damaged`."
        ),
    ] = OnDamage.REFUSE

    @property
    def options(self) -> SourceOptions:
        """These options alone, if a subclass has further fields."""
        return SourceOptions(frame=self.frame, density=self.density, on_damage=self.on_damage)

    @property
    def are_set(self) -> bool:
        """Whether any option differs from its default."""
        return self.options != SourceOptions()
