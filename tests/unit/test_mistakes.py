"""Mistakes that new users make, each with the part of the message that says what to change."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pixelflow.contracts.assets import CreateAssetRequest
from pixelflow.contracts.field_errors import field_errors, validation_failed
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.keys import CreateKeyRequest
from pixelflow.errors import FieldError

RESIZE: dict[str, Any] = {"id": "a", "action": "resize", "width": 5}
LOGO = {"content_length": 5}


def step(**fields: object) -> dict[str, Any]:
    """A job whose only step is a valid resize with these fields; None leaves one out."""
    return {"pipeline": [{name: value for name, value in {**RESIZE, **fields}.items() if value is not None}]}


def of(action: str, **fields: object) -> dict[str, Any]:
    return {"pipeline": [{"id": "a", "action": action, **fields}]}


def mark(**fields: object) -> dict[str, Any]:
    return of("watermark", watermark={"text": "x", **fields})


def job(**fields: object) -> dict[str, Any]:
    return {"pipeline": [RESIZE], **fields}


JOBS: list[tuple[object, str, str]] = [
    # Names of other tools
    (step(w=5, width=None), "/w", "did you mean `width`?"),
    (step(h=5), "/h", "did you mean `height`?"),
    (step(type="resize", action=None), "/action", "rename `type` to `action`"),
    (step(operation="resize", action=None), "/action", "rename `operation` to `action`"),
    (step(name="a", id=None), "/id", "rename `name` to `id`"),
    (step(mode="fill"), "/mode", "did you mean `fit`?"),
    (step(position="top"), "/position", "did you mean `gravity`?"),
    (step(size="100x100", width=None), "", "needs `width`, `height` or both"),
    (step(scale=0.5), "/scale", "set `width`, `height` or both, in pixels"),
    (step(upscale=True), "/upscale", "did you mean `enlarge`?"),
    (step(withoutEnlargement=True), "/withoutEnlargement", "that is the default; `enlarge` changes it"),
    (step(strip=True), "/strip", "did you mean `metadata`?"),
    (step(progressive=True), "/progressive", "set it in `encoder`, with `format`"),
    (step(effort=9), "/effort", "set it in `encoder`, with `format`"),
    (step(input="source"), "/input", "did you mean `from`?"),
    (step(params={"width": 5}), "/params", "write the fields of the action beside `action`"),
    (step(webhook_url="https://a.example"), "/webhook_url", "move it out of `pipeline`"),
    (of("crop", left=1, width=5, height=5), "/left", "did you mean `x`?"),
    (of("crop", aspect_ratio="16:9"), "/aspect_ratio", "did you mean `ratio`?"),
    (of("rotate", degrees=90), "/angle", "rename `degrees` to `angle`"),
    (of("rotate", rotation=90), "/angle", "rename `rotation` to `angle`"),
    (of("flip", horizontal=True), "/horizontal", "did you mean `direction`?"),
    (of("blur", radius=5), "/radius", "did you mean `sigma`?"),
    (of("round", corner_radius=5), "/radius", "rename `corner_radius` to `radius`"),
    (of("convert", to="webp"), "/to", "did you mean `format`?"),
    (of("convert", type="webp"), "/type", "did you mean `format`?"),
    (of("watermark", text="x"), "/text", "move it into `watermark`"),
    (of("overlay", url="https://a.example"), "/url", "pictures are assets: POST /v1/assets"),
    (mark(font_size=12), "/watermark/font_size", "did you mean `size`?"),
    (mark(quality=80), "/watermark/quality", "move it out of `watermark`"),
    (mark(url="https://a.example"), "/watermark/url", "pictures are assets: POST /v1/assets"),
    # Values of other tools
    (step(fit="crop"), "/fit", "did you mean `cover`?"),
    (step(fit="scale-down"), "/fit", "did you mean `inside`?"),
    (step(fit="pad"), "/fit", "did you mean `contain`?"),
    (step(fit="stretch"), "/fit", "did you mean `fill`?"),
    (step(gravity="top left"), "/gravity", "did you mean `northwest`?"),
    (step(gravity="bottomRight"), "/gravity", "did you mean `southeast`?"),
    (step(gravity="center-left"), "/gravity", "did you mean `west`?"),
    (step(gravity="face"), "/gravity", "did you mean `faces`?"),
    (step(format="JPG"), "/format", "did you mean `jpeg`?"),
    (step(format=".png"), "/format", "did you mean `png`?"),
    (step(format="image/webp"), "/format", "did you mean `webp`?"),
    (step(format="bmp"), "/format", "must be `avif`, `gif`, `jpeg`"),
    (step(action="thumbnail"), "/action", "did you mean `resize`?"),
    (step(action="scale"), "/action", "did you mean `resize`?"),
    (step(action="fit"), "/action", "did you mean `resize`?"),
    (step(action="Resize"), "/action", "did you mean `resize`?"),
    (step(action="greyscale"), "/action", "did you mean `grayscale`?"),
    (step(action="autorotate"), "/action", "did you mean `rotate`?"),
    (step(metadata="keep"), "/metadata", "did you mean `all`?"),
    (of("flip", direction="h"), "/direction", "did you mean `horizontal`?"),
    # Wrong types and ranges
    (step(width="100"), "/width", "must be an integer from 1 to 16384; remove the quotes"),
    (step(width="50%"), "/width", "percentages are not supported here"),
    (step(width="100px"), "/width", "write pixels as a number without a unit"),
    (step(width=0.5), "/width", "must be an integer from 1 to 16384"),
    (step(width=0), "/width", "must be at least 1"),
    (step(quality=0.8), "/quality", "must be an integer from 1 to 100"),
    (step(quality="high"), "/quality", "must be an integer from 1 to 100"),
    (step(enlarge="true"), "/enlarge", "must be true or false; remove the quotes"),
    (step(id=1), "/id", "must be a string; put it in quotes"),
    (step(id="thumb.jpg"), "/id", "letters, digits, `_` or `-`; such as `photo-640`"),
    (step(id=None), "/id", 'is required, such as "thumb"'),
    (step(action=None), "/action", "is required, such as `resize`"),
    (of("rotate", angle="90"), "/angle", "from -360 to 360; remove the quotes"),
    (of("rotate", angle=720), "/angle", "must be at most 360"),
    (of("crop", ratio="16/9"), "/ratio", 'must be two numbers ("16:9")'),
    (of("crop"), "", "needs a size: `width`, `height` or `ratio`"),
    (of("watermark"), "/watermark", 'is required, such as {"text": "© Acme"}'),
    (of("watermark", watermark="x"), "/watermark", 'must be an object, such as {"text": "© Acme"}'),
    (of("overlay", image="logo.png"), "/image", 'must be an object, such as {"asset": "logo"}'),
    (mark(text=""), "/watermark/text", "must not be empty"),
    (mark(opacity=50), "/watermark/opacity", "must be at most 1"),
    (mark(size="big"), "/watermark/size", 'must be pixels (24) or a percentage ("4%")'),
    # Colors
    (step(background="ff8800"), "/background", "start it with `#`"),
    (step(background="rgb(255, 0, 0)"), "/background", "functions such as rgb() are not supported"),
    (step(background="none"), "/background", "did you mean `transparent`?"),
    (step(background="orrange"), "/background", "did you mean `orange`?"),
    # Options of the encoder of another format
    (step(format="webp", encoder={"progressive": True}), "/encoder/progressive", "JPEG and PNG have `progressive`"),
    (step(format="webp", encoder={"tile": True}), "/encoder/tile", "options of WebP are `chroma`, `effort`"),
    (step(format="jpg", encoder={"lossless": True}), "/encoder/lossless", "AVIF, JPEG XL and WebP have `lossless`"),
    (step(format="jpeg", encoder={"chromaSubsampling": 1}), "/encoder/chromaSubsampling", "did you mean `chroma`?"),
    (step(format="png", encoder={"compressionLevel": 9}), "/encoder/compressionLevel", "did you mean `effort`?"),
    (step(format="png", encoder={"quality": 9}), "/encoder/quality", "move it out of `encoder`"),
    (step(format="gif", encoder={"nonsense": 9}), "/encoder/nonsense", "the options of GIF are `colors`, `dither`"),
    # Operations as fields of another one
    (step(blur=5), "/blur", 'add a step of its own, such as {"id": "blur", "action": "blur", "sigma": "2%"}'),
    (step(bl=5), "/bl", '{"id": "blur", "action": "blur"'),
    (step(sharpen=True), "/sharpen", '{"id": "sharpen", "action": "sharpen"'),
    (step(rotate=90), "/rotate", '{"id": "rotate", "action": "rotate", "angle": 90}'),
    (step(radius=5), "/radius", '{"id": "round", "action": "round", "radius": "20%"}'),
    (step(roundCorners=5), "/roundCorners", '"action": "round"'),
    (step(watermark="x"), "/watermark", '{"id": "watermark", "action": "watermark", "watermark": {"text": "© Acme"'),
    (step(aspect_ratio="16:9"), "/aspect_ratio", '{"id": "crop", "action": "crop", "ratio": "1:1"'),
    (step(hue=20), "/hue", '{"id": "adjust", "action": "adjust", "hue": 90}'),
    (step(greyscale=True), "/greyscale", '{"id": "grayscale", "action": "grayscale"}'),
    (step(filter="sepia"), "/filter", '"action": "tint"'),
    (step(effect="blur"), "/effect", '"action": "blur"'),
    (of("grayscale", grayscale=True), "/grayscale", "remove it"),
    (of("blur", width=100), "/width", '{"id": "resize", "action": "resize", "width": 320}'),
    (step(pad=5), "/pad", 'set `width`, `height` and `"fit": "contain"`'),
    (step(invert=True), "/invert", "PixelFlow has no operation for it"),
    # Parameters of other tools
    (step(page=1), "/page", "set `frame` in `source`, beside `pipeline`"),
    (step(dpi=300), "/dpi", "set `density` in `source`, beside `pipeline`"),
    (step(fm="webp"), "/fm", "did you mean `format`?"),
    (step(fp_x=0.5), "/fp_x", "did you mean `focus`?"),
    (step(max_w=5), "/max_w", "did you mean `max_width`?"),
    (step(mw=5), "/mw", "did you mean `min_width`?"),
    (step(auto="format"), "/auto", "write a step for each format"),
    (step(format="auto"), "/format", "write a step for each format"),
    (step(format="heif"), "/format", "HEIC is read, but not written"),
    (step(quality="auto"), "/quality", "omit it for the default of the format"),
    (step(height="auto"), "/height", "omit it: it follows from the aspect ratio"),
    (step(public_id="a"), "/public_id", "an output has the `id` of its step as its name"),
    (of("round", radius="max"), "/radius", 'did you mean "50%"?'),
    (of("round", radius="50px"), "/radius", "write pixels as a number without a unit"),
    (mark(rotation="45deg"), "/watermark/rotation", "write degrees as a number without a unit"),
    (of("crop", smart=True, width=5), "/smart", 'set `"gravity": "attention"`'),
    (of("crop", x1=1, x2=5), "/x2", "set `x`, `y`, `width` and `height`"),
    # Gravities of other tools
    *((step(gravity=name), "/gravity", "did you mean `faces`?") for name in ("g_face", "auto:face", "face")),
    *((step(gravity=name), "/gravity", "did you mean `attention`?") for name in ("sm", "g_auto", "auto:subject")),
    *((step(gravity=name), "/gravity", "did you mean `center`?") for name in ("ce", "xy_center")),
    *((step(gravity=name), "/gravity", "did you mean `northeast`?") for name in ("noea", "north_east", "top,right")),
    *((step(gravity=name), "/gravity", "did you mean `southwest`?") for name in ("sowe", "south_west", "sw")),
    *((step(gravity=name), "/gravity", "set `focus` instead") for name in ("fp", "fp:0.5:0.5", "fo", "focalpoint")),
    *(
        (step(gravity=name, **fields), "/gravity", 'needs `"fit": "cover"`, `width` and `height`')
        for name in ("faces", "attention", "entropy")
        for fields in ({}, {"height": 5}, {"height": 5, "fit": "contain"}, {"fit": "cover"})
    ),
    (mark(gravity="replicate"), "/watermark/gravity", 'set `"tile": true`'),
    (mark(x=5), "/watermark/x", 'set `gravity` and `margin`, such as `"gravity": "southeast", "margin": 24`'),
    # Arrays
    (of("redact"), "/regions", 'is required, such as [{"'),
    (of("redact", regions={"x": 1}), "/regions", 'must be an array, such as [{"'),
    (of("redact", regions=[[1, 2, 3, 4]]), "/regions/0", 'must be an object, such as {"x": 120, "y": 80'),
    (of("redact", faces=True), "/faces", "list the rectangles in `regions`"),
    (of("gradient", stops="red"), "/stops", 'must be an array, such as [{"color": "#00000000"}'),
    (of("gradient", colors=["red", "blue"]), "/colors", 'set `stops`, such as [{"color": "#ff0080"}'),
    (of("gradient", to="red"), "/to", 'set `stops`, such as [{"color": "#ff0080"}'),
    (of("gradient", stops=[{"color": "red", "offset": 0}]), "/stops/0/offset", "did you mean `at`?"),
    (of("gradient", direction="right"), "/direction", "set `angle`, in degrees as in CSS"),
    # Graph
    (step(**{"from": "b"}), "/from", "must be `source` or the id of an earlier step"),
    (step(id="source"), "/id", "choose another id"),
]
WHOLE: list[tuple[object, str, str]] = [
    ({"steps": [RESIZE]}, "/pipeline", "rename `steps` to `pipeline`"),
    ({"transforms": [RESIZE]}, "/pipeline", "rename `transforms` to `pipeline`"),
    ({"pipline": [RESIZE]}, "/pipline", "did you mean `pipeline`?"),
    ({"pipeline": RESIZE}, "/pipeline", 'must be an array, such as [{"action": "resize", "id": "thumb"'),
    ({"pipeline": ["resize"]}, "/pipeline/0", 'must be an object, such as {"action": "resize", "id": "thumb"'),
    ({"pipeline": [{"id": "a", "resize": {"width": 5}}]}, "/pipeline/0/action", 'write `"action": "resize"`'),
    (RESIZE, "/width", "move it into a step of `pipeline`"),
    ([RESIZE], "", "must be an object"),
    (job(webhook="https://a.example"), "/webhook", "did you mean `webhook_url`?"),
    (job(callback_url="https://a.example"), "/callback_url", "did you mean `webhook_url`?"),
    (job(webhook_url="a.example/hook"), "/webhook_url", "such as https://client.example/hooks"),
    (job(webhook_url=""), "/webhook_url", "such as https://client.example/hooks"),
    (job(priority="urgent"), "/priority", "did you mean `high`?"),
    (job(metadata={"a": 1}), "/metadata/a", "must be a string; put it in quotes"),
    (job(metadata="x"), "/metadata", 'must be an object, such as {"sku": "A-17"}'),
    (job(tags=["a"]), "/tags", "did you mean `metadata`?"),
    (job(source="https://a.example/a.jpg"), "/source", "PUT the file"),
    (job(source_url="https://a.example/a.jpg"), "/source_url", 'set `"source": {"url": "https://…"}`'),
    (job(source={"uri": "https://a.example/a.jpg"}), "/source/uri", "use `url`"),
    (job(source={"size": 5}), "/source/size", "did you mean `content_length`?"),
    (job(source={"page": 1}), "/source/page", "did you mean `frame`?"),
    (job(source={"content_type": "jpg"}), "/source/content_type", "must be a media type such as image/jpeg"),
    (job(source={"pipeline": []}), "/source/pipeline", "move it out of `source`"),
    (job(content_type="image/png"), "/content_type", "move it into `source`"),
    (job(source={"checksum": "x"}), "/source/checksum", "did you mean `sha256`?"),
    (job(eager=[]), "/eager", "did you mean `pipeline`?"),
    (job(upload_preset="a"), "/upload_preset", "did you mean `preset`?"),
    (job(bucket="a"), "/bucket", "set `bucket` in `destination`"),
    (job(expires_in=5), "/expires_in", "the operator sets how long files are kept"),
    (job(output_format="webp"), "/output_format", "move it into a step of `pipeline`, as `format`"),
    (job(outputs=[]), "/outputs", "each step of `pipeline` is one output"),
    (job(dry_run=True), "/dry_run", "POST /v1/jobs?dry_run=true"),
    (job(idempotency_key="x"), "/idempotency_key", "send it as the header `Idempotency-Key`"),
    (job(user_id="x"), "/user_id", "the API key determines the user"),
    (job(source_type="s3"), "/source_type", "did you mean `s3_presigned`?"),
    (job(source_type="local_file", object_key="a.jpg"), "/object_key", "such as /srv/photos/a.jpg"),
]
KEYS: list[tuple[object, str, str]] = [
    ({}, "/name", 'is required, such as "shop backend"'),
    ({"label": "x"}, "/name", "rename `label` to `name`"),
    ({"name": "x", "permissions": ["jobs:read"]}, "/scopes", "rename `permissions` to `scopes`"),
    ({"name": "x", "scopes": "jobs:read"}, "/scopes", 'must be an array, such as ["jobs:read", "jobs:write"]'),
    ({"name": "x", "scopes": ["jobs.read"]}, "/scopes/0", "did you mean `jobs:read`?"),
    ({"name": "x", "scopes": []}, "/scopes", "must not be empty"),
    ({"name": "x", "expires_in": "30d"}, "/expires_in", "did you mean `expires_at`?"),
    ({"name": "x", "expires_at": "tomorrow"}, "/expires_at", "must be a time such as 2030-01-31T12:00:00Z"),
    ({"name": "x", "rate": 5}, "/rate", "the fields here are `expires_at`, `name` and `scopes`"),
]
ASSETS: list[tuple[object, str, str]] = [
    ({"name": "logo"}, "/source", 'is required, such as {"content_length": 18204}'),
    ({"name": "logo", "content_length": 5}, "/content_length", "move it into `source`"),
    ({"name": "logo", "size": 5}, "/size", "move it into `source`, as `content_length`"),
    ({"name": "logo.png", "source": LOGO}, "/name", "letters, digits, `_` or `-`; such as `photo-640`"),
    ({"filename": "logo", "source": LOGO}, "/name", "rename `filename` to `name`"),
]
MISTAKES = [
    *((CreateJobRequest, body, f"/pipeline/0{pointer}", expected) for body, pointer, expected in JOBS),
    *((CreateJobRequest, *each) for each in WHOLE),
    *((CreateKeyRequest, *each) for each in KEYS),
    *((CreateAssetRequest, *each) for each in ASSETS),
]


def messages_of(model: type[BaseModel], body: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(body)
    rows = raised.value.errors(include_url=False, include_input=False)
    return {error.pointer: error.message for error in field_errors(rows, body, model)}


@pytest.mark.parametrize(
    ("model", "body", "pointer", "expected"), MISTAKES, ids=lambda value: str(value)[:50].replace("\n", " ")
)
def test_the_message_says_what_to_change(model: type[BaseModel], body: object, pointer: str, expected: str) -> None:
    assert expected in messages_of(model, body)[pointer]


@pytest.mark.parametrize("entries", [[1], ["red", "blue"], [{"colour": "red"}, {"colour": "blue"}]])
def test_an_array_with_invalid_entries_is_not_reported_as_empty(entries: list[object]) -> None:
    found = messages_of(CreateJobRequest, of("redact", regions=entries))
    assert "/pipeline/0/regions" not in found


@pytest.mark.parametrize(("model", "body"), [row[:2] for row in MISTAKES], ids=lambda value: str(value)[:50])
def test_no_message_has_a_regular_expression_or_a_text_of_pydantic(model: type[BaseModel], body: object) -> None:
    for message in messages_of(model, body).values():
        assert not any(part in message for part in ("^", "\\", "Input should", "Value error", "[type="))


@pytest.mark.parametrize(
    "fields",
    [{"format": "jpg"}, {"format": "tif"}, {"background": "#fff"}, {"background": "#fff8"}, {"background": "Orange"}],
)
def test_what_other_tools_write_is_accepted_where_it_has_one_meaning(fields: dict[str, str]) -> None:
    CreateJobRequest.model_validate(step(**fields))


@pytest.mark.parametrize(
    ("errors", "detail"),
    [
        ([("/a", "must be 1")], "`/a` must be 1"),
        ([("", "must be an object")], "The body must be an object"),
        ([("/a", "needs b"), ("/a/c", "unknown"), ("/d", "e")], "`/a/c` unknown (the first of 3 errors)"),
    ],
)
def test_the_detail_is_the_first_fault(errors: list[tuple[str, str]], detail: str) -> None:
    fields = [FieldError(pointer=pointer, message=message) for pointer, message in errors]
    assert validation_failed(fields).detail == detail
