"""The OpenAPI description, generated from the routes and their types. Must not be written by hand anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from sekisho import __version__
from sekisho.entrypoints.http.admin.access import ROLES
from sekisho.entrypoints.http.admin.routes import Route

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_FROM_ONE = {"type": "integer", "minimum": 1}
_CARRIERS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    **{name: {"type": "apiKey", "in": "header", "name": name} for name in ("x-api-key", "x-goog-api-key", "api-key")},
}


class ErrorBody(msgspec.Struct, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class Failure(msgspec.Struct, kw_only=True):
    """Every refusal; `code` is stable."""

    error: ErrorBody


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    routes = tuple(routes)
    types: list[Any] = [Failure]
    for route in routes:
        types += [one for one in (route.answer, route.form) if one is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    of_type = {repr(one): schema for one, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_PARAMETER.sub(r"{\1}", f"/admin{route.path}"), {})[route.method.lower()] = _operation(
            route, of_type
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sekisho administration", "version": __version__},
        "security": [{name: []} for name in _CARRIERS],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _CARRIERS},
    }


def _operation(route: Route, of_type: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": {"type": "string"} if name == "after" else _FROM_ONE}
        for name in route.query
    ]
    failure = {"description": "A refusal.", "content": _json(of_type[repr(Failure)])}
    answer = {"description": "Done.", "content": _json(of_type[repr(route.answer)])}
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{''.join(part.title() for part in re.findall('[a-z]+', route.path))}",
        "summary": route.says,
        "x-roles": [role for role in ROLES if role in route.roles],
        "parameters": parameters,
        "responses": {**{str(status): answer for status in route.statuses}, "default": failure},
    }
    if route.form is not None:
        required = any(field.required for field in msgspec.structs.fields(route.form))
        operation["requestBody"] = {"required": required, "content": _json(of_type[repr(route.form)])}
    return operation


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
