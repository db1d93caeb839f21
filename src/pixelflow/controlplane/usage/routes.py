"""The route of usage."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pixelflow import errors
from pixelflow.contracts.usage import MAX_DAYS, MAX_USERS, UsageByDay, UsageByUser, as_csv, period_error
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsUsage
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.identity import MAX_USER_ID, is_user_id
from pixelflow.controlplane.usage.service import UsageFilter

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=AuthenticatedRoute)

_CSV = "text/csv"


def _is_user_id(value: str) -> str:
    if not is_user_id(value):
        raise PydanticCustomError("user_id", "must be 1 to {max} printable characters", {"max": MAX_USER_ID})
    return value


Day = Annotated[date, Field(ge=date(2000, 1, 1), lt=date(3000, 1, 1))]
UserId = Annotated[
    str, AfterValidator(_is_user_id), Field(json_schema_extra={"minLength": 1, "maxLength": MAX_USER_ID})
]


class UsageQuery(BaseModel):
    """The query parameters.

    A constraint that involves several fields is checked at the last of them, so that all errors are reported at once.
    """

    model_config = ConfigDict(frozen=True)

    from_day: Annotated[
        Day | None, Field(alias="from", description="The first day (UTC). Default: 30 days before `to`.")
    ] = None
    to_day: Annotated[
        Day | None,
        Field(
            alias="to",
            description=f"The day after the last day (UTC), at most {MAX_DAYS} days after `from`. Default: tomorrow.",
        ),
    ] = None
    group_by: Annotated[Literal["day", "user"], Field(description="Return one row per day or per user.")] = "day"
    user_id: Annotated[
        UserId | None,
        Field(description="The user whose usage to return. Default: you. Other users require the `admin` scope."),
    ] = None
    all_users: Annotated[bool, Field(description="Return the usage of all users. Requires the `admin` scope.")] = False
    limit: Annotated[
        int | None,
        Field(ge=1, le=MAX_USERS, description=f"Users per page, with `group_by=user`. Default: {MAX_USERS}."),
    ] = None
    cursor: Annotated[UserId | None, Field(description="`next_cursor` of the previous page, with `group_by=user`.")] = (
        None
    )
    format: Annotated[
        Literal["json", "csv"] | None,
        Field(description="The response format. Default: CSV if `Accept` begins with `text/csv`, else JSON."),
    ] = None

    @field_validator("to_day")
    @classmethod
    def _check_date_range(cls, to_day: date | None, info: ValidationInfo) -> date | None:
        from_day = info.data.get("from_day")
        if from_day and to_day and (error := period_error(from_day, to_day)):
            raise PydanticCustomError("date_range", "{error}", {"error": error})
        return to_day

    @field_validator("all_users")
    @classmethod
    def _check_one_user_or_all(cls, all_users: bool, info: ValidationInfo) -> bool:
        if all_users and info.data.get("user_id") is not None:
            raise PydanticCustomError("one_user_or_all", "can't be combined with `user_id`")
        return all_users

    @field_validator("limit", "cursor")
    @classmethod
    def _check_pagination(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        if value is not None and info.data.get("group_by") == "day":
            raise PydanticCustomError("pagination", "requires `group_by=user`")
        return value


@router.get(
    "",
    summary="Get usage",
    response_model=UsageByDay | UsageByUser,
    responses={
        **documented(*COMMON_ERRORS, errors.ValidationFailedError),
        200: {"content": {_CSV: {"schema": {"type": "string"}, "example": examples.USAGE_CSV}}},
    },
)
async def get_usage(
    identity: ReadsUsage,
    services: ServicesOf,
    request: Request,
    response: Response,
    query: Annotated[UsageQuery, Query()],
) -> Any:  # noqa: ANN401 - one of two models, or CSV
    """Return what the jobs that succeeded used and saved, by day or by user.

    By default it covers your own usage; the `admin` scope gives access to any user and to all users. The current day's
    sums are not final. CSV has no total; if there are more pages of users, it has a `Link` header with the next one.
    """
    usage_filter = UsageFilter(query.from_day, query.to_day, query.user_id, query.all_users)
    if query.group_by == "day":
        usage: UsageByDay | UsageByUser = await services.usage_queries.by_day(identity, usage_filter)
    else:
        usage = await services.usage_queries.by_user(
            identity, usage_filter, limit=query.limit or MAX_USERS, cursor=query.cursor
        )
    response.headers["Vary"] = "Accept"
    accepts_csv = request.headers.get("Accept", "").lower().startswith(_CSV)
    response_format = query.format or ("csv" if accepts_csv else "json")
    return _csv_response(usage, request) if response_format == "csv" else usage


def _csv_response(usage: UsageByDay | UsageByUser, request: Request) -> Response:
    name = f"usage-{usage.from_day}-{usage.to_day}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    if isinstance(usage, UsageByUser) and usage.next_cursor is not None:
        next_page = request.url.include_query_params(cursor=usage.next_cursor)
        headers["Link"] = f'<{next_page.path}?{next_page.query}>; rel="next"'
    return Response(as_csv(usage), media_type=_CSV, headers=headers)
