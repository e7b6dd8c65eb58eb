"""A Unity Catalog on loopback, written from the published description of its API (unitycatalog/unitycatalog,
api/all.yaml, 2026-11): it takes what CreateSchema and CreateTable allow, nothing else, and answers with SchemaInfo and
TableInfo. Codes of errors and which names and places it takes are those of its server, where the description is silent.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

API = "/api/2.1/unity-catalog/"
TYPE_NAMES = {
    "BOOLEAN", "BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "STRING",
    "BINARY", "DECIMAL", "INTERVAL", "ARRAY", "STRUCT", "MAP", "VARIANT", "CHAR", "NULL", "USER_DEFINED_TYPE",
    "TABLE_TYPE",
}  # fmt: skip
#: property -> its type; a star: required
_COLUMN = {
    "name": str, "type_text": str, "type_json": str, "type_name": TYPE_NAMES, "type_precision": int,
    "type_scale": int, "type_interval_type": str, "position": int, "comment": str, "nullable": bool,
    "partition_index": int,
}  # fmt: skip
_CREATE_SCHEMA = {"*name": str, "*catalog_name": str, "comment": str, "properties": dict, "storage_root": str}
_CREATE_TABLE = {
    "*name": str, "*catalog_name": str, "*schema_name": str, "*table_type": {"MANAGED", "EXTERNAL", "VIEW"},
    "data_source_format": {"DELTA", "ICEBERG", "CSV", "JSON", "AVRO", "PARQUET", "ORC", "TEXT"}, "*columns": list,
    "storage_location": str, "comment": str, "properties": dict, "view_definition": str, "view_dependencies": dict,
}  # fmt: skip
_NAME = re.compile(r"[a-zA-Z0-9_@-]{1,255}")


class UnityCatalog:
    """One catalog `main`, with or without a token. `seen` are the requests: method, path, authorization, body."""

    def __init__(self, *, token: str = "", certificate: Path | None = None) -> None:
        self.token = token
        self.schemas: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str, str | None, Any]] = []
        #: said instead of what would be right: by method and kind
        self.instead: dict[tuple[str, str], tuple[int, bytes, dict[str, str]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, authorization: str | None, body: Any) -> tuple[int, Any]:
        kind, _, name = urlsplit(path).path.removeprefix(API).partition("/")
        if self.token and authorization != f"Bearer {self.token}":
            return _error(401, "UNAUTHENTICATED", f"Invalid access token {authorization}.")
        kept = {"schemas": self.schemas, "tables": self.tables}[kind]
        if method == "GET":
            found = kept.get(unquote(name))
            return (200, found) if found else _error(404, "NOT_FOUND", f"{kind} not found: {name}")
        if mistake := _mistake(body, _CREATE_SCHEMA if kind == "schemas" else _CREATE_TABLE):
            return _error(400, "INVALID_ARGUMENT", mistake)
        return self._create(kind, body)

    def _create(self, kind: str, body: Any) -> tuple[int, Any]:
        if not _NAME.fullmatch(body["name"]):
            return _error(400, "INVALID_ARGUMENT", "Name cannot contain a period, space, or forward-slash")
        if body["catalog_name"] != "main":
            return _error(404, "NOT_FOUND", f"Catalog not found: {body['catalog_name']}")
        if kind == "schemas":
            name = f"{body['catalog_name']}.{body['name']}"
            if name in self.schemas:
                return _error(400, "SCHEMA_ALREADY_EXISTS", name)
            self.schemas[name] = {**body, "full_name": name, "schema_id": "1", "created_at": 0}
            return 200, self.schemas[name]
        schema = f"{body['catalog_name']}.{body['schema_name']}"
        name = f"{schema}.{body['name']}"
        if schema not in self.schemas:
            return _error(404, "NOT_FOUND", f"Schema not found: {schema}")
        if name in self.tables:
            return _error(400, "TABLE_ALREADY_EXISTS", name)
        place = urlsplit(body["storage_location"])
        if place.scheme not in ("s3", "file") or " " in body["storage_location"]:
            return _error(400, "INVALID_ARGUMENT", f"Unsupported path: {body['storage_location']}")
        self.tables[name] = {**body, "table_id": "1", "created_at": 0, "updated_at": 0}
        return 200, self.tables[name]


def _mistake(body: Any, allowed: dict[str, Any]) -> str:
    known = {name.lstrip("*"): kind for name, kind in allowed.items()}
    missing = [name[1:] for name in allowed if name.startswith("*") and name[1:] not in body]
    unknown = [name for name in body if name not in known]
    if missing or unknown:
        return f"missing {missing}, unknown {unknown}"
    for name, value in body.items():
        kind = known[name]
        if value not in kind if isinstance(kind, set) else type(value) is not kind:
            return f"{name}: {value!r}"
    for at, column in enumerate(body.get("columns", ())):
        if mistake := _mistake(column, _COLUMN):
            return mistake
        if column["position"] != at or (column["type_name"] == "DECIMAL") != ("type_precision" in column):
            return f"column {column['name']}"
        json.loads(column["type_json"])
    return ""


def _error(status: int, code: str, message: str) -> tuple[int, Any]:
    details = [{"@type": "google.rpc.ErrorInfo", "reason": code}]
    return status, {"error_code": code, "message": message, "details": details}


def _handler(catalog: UnityCatalog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            authorization = self.headers.get("authorization")
            catalog.seen.append((method, self.path, authorization, body))
            kind = self.path.removeprefix(API).partition("/")[0]
            status, headers = 0, {"content-type": "application/json"}
            if said := catalog.instead.get((method, kind)):
                status, content, headers = said
            else:
                status, answer = catalog.answer(method, self.path, authorization, body)
                content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
