"""What a model's JSON Schema says of a location in a request: its fields, limits and examples.

A location is Pydantic's: it contains the tags of unions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

Node = dict[str, Any]
_MAX_NESTED = 4
"""Objects within each other that an example may have."""


def fields_at(model: type[BaseModel], location: Iterable[int | str]) -> set[str]:
    """The names of the fields at a location; empty if it has none."""
    return {name for node in nodes_at(model, location) for name in node.get("properties", {})}


def nodes_at(model: type[BaseModel], location: Iterable[int | str]) -> list[Node]:
    """The schemas at a location: the alternatives of a union, each with its references resolved."""
    schema = _schema(model)
    nodes = [schema]
    for part in location:
        nodes = [child for node in nodes for child in _children(schema, node, part)]
    return [each for node in nodes for each in _alternatives(schema, node)]


def parent_of(model: type[BaseModel], parents: Sequence[int | str], field: str) -> str | None:
    """What inside ``parents`` has ``field``: a step for ``width``, and ``source`` for ``content_length``."""
    schema = _schema(model)
    children = [pair for node in nodes_at(model, parents) for pair in node.get("properties", {}).items()]
    for name, child in children:
        items = [item for each in _alternatives(schema, child) for item in _items(schema, each)]
        if any(field in item.get("properties", {}) for item in items):
            return "a step of `pipeline`" if name == "pipeline" else f"an entry of `{name}`"
    for name, child in children:
        if any(field in each.get("properties", {}) for each in _alternatives(schema, child)):
            return f"`{name}`"
    return None


def example_at(model: type[BaseModel], location: Iterable[int | str]) -> object | None:
    """An example of the value at a location; None if the schema has none."""
    schema, place = _schema(model), list(location)
    for node in nodes_at(model, place):
        if (found := _example(schema, node, _MAX_NESTED)) is not None:
            return found
    if place and isinstance(place.pop(), int) and isinstance(entries := example_at(model, place), list):
        first: object = entries[0]
        return first
    return None


def _example(schema: Node, node: Node, depth: int) -> object | None:
    if node.get("examples"):
        first: object = node["examples"][0]
        return first
    if depth and node.get("type") == "object" and node.get("required"):
        fields = {name: _first_example(schema, node["properties"][name], depth - 1) for name in node["required"]}
        return None if None in fields.values() else fields
    return None


def _first_example(schema: Node, node: Node, depth: int) -> object | None:
    found = (_example(schema, each, depth) for each in _alternatives(schema, node))
    return next((each for each in found if each is not None), None)


@lru_cache(maxsize=16)
def _schema(model: type[BaseModel]) -> Node:
    return model.model_json_schema(by_alias=True, mode="validation")


def _children(schema: Node, node: Node, part: int | str) -> Iterator[Node]:
    tags = node.get("discriminator", {}).get("mapping", {})
    if part in tags:
        yield _resolve(schema, tags[part])
        return
    for each in _alternatives(schema, node):
        if isinstance(part, int) and "items" in each:
            yield each["items"]
        elif part in each.get("properties", {}):
            yield each["properties"][part]


def _items(schema: Node, node: Node) -> Iterator[Node]:
    items = node.get("items", {})
    for each in items.get("oneOf", [items]):
        yield from _alternatives(schema, each)


def _alternatives(schema: Node, node: Node) -> Iterator[Node]:
    if "$ref" in node:
        # What stands beside the reference, such as examples, is about this use of the definition.
        node = {**_resolve(schema, node["$ref"]), **{name: value for name, value in node.items() if name != "$ref"}}
    yield node
    for each in node.get("anyOf", ()):
        yield from _alternatives(schema, each)


def _resolve(schema: Node, reference: str) -> Node:
    definition: Node = schema["$defs"][reference.rpartition("/")[2]]
    return definition
