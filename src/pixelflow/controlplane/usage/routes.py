"""The route of usage."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pixelflow.contracts import errors
from pixelflow.contracts.usage import MAX_DAYS, MAX_USERS, UsageByDay, UsageByUser, as_csv, period_error
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.admission import COMMON_ERRORS, AuthenticatedRoute
from pixelflow.controlplane.api.auth import ReadsUsage
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.identity import MAX_USER_ID, is_user_id
from pixelflow.controlplane.usage.service import UsageFilter

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=AuthenticatedRoute)

_CSV = "text/csv"


def _is_user_id(value: str) -> str:
    if not is_user_id(value):
        raise PydanticCustomError("user_id", "must be 1 to {most} printable characters", {"most": MAX_USER_ID})
    return value


Day = Annotated[date, Field(ge=date(2000, 1, 1), lt=date(3000, 1, 1))]
UserId = Annotated[
    str, AfterValidator(_is_user_id), Field(json_schema_extra={"minLength": 1, "maxLength": MAX_USER_ID})
]


class UsageQuery(BaseModel):
    """What may be asked for. What ties fields is checked at the last of them, so that all faults are told at once."""

    model_config = ConfigDict(frozen=True)

    from_day: Annotated[
        Day | None, Field(alias="from", description="The first day, of UTC. Without it: 30 days before `to`.")
    ] = None
    to_day: Annotated[
        Day | None,
        Field(
            alias="to",
            description=f"The day after the last one; at most {MAX_DAYS} days after `from`. Without it: tomorrow.",
        ),
    ] = None
    group_by: Annotated[Literal["day", "user"], Field(description="One row for each of these.")] = "day"
    user_id: Annotated[UserId | None, Field(description="Whose; anybody's but your own needs `admin`.")] = None
    all_users: Annotated[bool, Field(description="Everybody's together; needs `admin`.")] = False
    limit: Annotated[
        int | None, Field(ge=1, le=MAX_USERS, description=f"Users at most, if grouped by them; else {MAX_USERS}.")
    ] = None
    cursor: Annotated[UserId | None, Field(description="`next_cursor` of the page before, if grouped by user.")] = None
    format: Annotated[
        Literal["json", "csv"] | None,
        Field(description="Without it: CSV if `Accept` begins with `text/csv`, else JSON."),
    ] = None

    @field_validator("to_day")
    @classmethod
    def _spans_days(cls, to_day: date | None, info: ValidationInfo) -> date | None:
        from_day = info.data.get("from_day")
        if from_day and to_day and (wrong := period_error(from_day, to_day)):
            raise PydanticCustomError("span", "{wrong}", {"wrong": wrong})
        return to_day

    @field_validator("all_users")
    @classmethod
    def _names_one_or_all(cls, all_users: bool, info: ValidationInfo) -> bool:
        if all_users and info.data.get("user_id") is not None:
            raise PydanticCustomError("whose", "can't stand beside `user_id`")
        return all_users

    @field_validator("limit", "cursor")
    @classmethod
    def _pages_users(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        if value is not None and info.data.get("group_by") == "day":
            raise PydanticCustomError("pages", "is for `group_by=user` alone")
        return value


@router.get(
    "",
    summary="Sum up usage",
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
    asked: Annotated[UsageQuery, Query()],
) -> Any:  # noqa: ANN401 - one of two models, or CSV
    """What succeeded jobs took and saved, by day or by user: yours, or with `admin` anybody's and everybody's.

    Today's sums still grow. As CSV there is no total, and a page of users that is not the last has a `Link` header.
    """
    wanted = UsageFilter(asked.from_day, asked.to_day, asked.user_id, asked.all_users)
    if asked.group_by == "day":
        usage: UsageByDay | UsageByUser = await services.shown_usage.by_day(identity, wanted)
    else:
        usage = await services.shown_usage.by_user(
            identity, wanted, limit=asked.limit or MAX_USERS, cursor=asked.cursor
        )
    response.headers["Vary"] = "Accept"
    form = asked.format or ("csv" if request.headers.get("Accept", "").lower().startswith(_CSV) else "json")
    return _download(usage, request) if form == "csv" else usage


def _download(usage: UsageByDay | UsageByUser, request: Request) -> Response:
    name = f"usage-{usage.from_day}-{usage.to_day}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    if isinstance(usage, UsageByUser) and usage.next_cursor is not None:
        following = request.url.include_query_params(cursor=usage.next_cursor)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return Response(as_csv(usage), media_type=_CSV, headers=headers)
