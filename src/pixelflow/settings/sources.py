"""Settings of sources that workers fetch by URL."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pixelflow.settings.field_types import HostPatterns, Networks
from pixelflow.settings.storage import StorageSettings


class SourceSettings(StorageSettings):
    """Settings of sources by URL, and those of object storage."""

    url_sources: Annotated[
        bool,
        Field(
            description="Whether jobs can name the URL of their source, which workers fetch. For the API and for those "
            "workers that have access to the internet. The default of `pixelflow up` is true"
        ),
    ] = False
    url_source_hosts: Annotated[
        HostPatterns,
        Field(
            description="Hosts that sources are fetched from, separated by commas; *.example.com stands for all names "
            "below example.com. Default: all public ones"
        ),
    ] = ()
    url_source_allow_cidrs: Annotated[
        Networks,
        Field(
            description="Non-public networks that sources can be fetched from, separated by commas. Users can then "
            "read every image that these networks serve. Default: none"
        ),
    ] = ()
    url_source_allow_http: Annotated[
        bool, Field(description="Whether sources can be fetched from http:// URLs too")
    ] = False
