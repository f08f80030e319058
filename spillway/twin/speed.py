"""moto and botocore, faster: the same answers with less looking up.

moto finds out again, for each field of each answer and each node of each expression, what it
found out for the one before. These replacements remember it; they change no result. Together
they take a third to a half off a DynamoDB call.
"""

import pickle
import re
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from functools import lru_cache
from io import BytesIO
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import urlparse

from botocore import session
from moto import backends
from moto.backend_index import backend_url_patterns
from moto.core import responses, serialize
from moto.core.base_backend import BackendDict
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    Request,
    environ_key_for_header,
    normalize_request,
)
from moto.core.utils import camelcase_to_underscores, method_names_from_class, utcnow
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import (  # type: ignore[attr-defined]
    DepthFirstTraverser,
    Expression,
    Node,
    UpdateExpressionFunction,
)
from moto.dynamodb.parsing.expressions import (  # type: ignore[attr-defined]
    UpdateExpressionParser,
)
from moto.iam.models import mark_account_as_visited
from moto.kms import models as kms
from moto.kms.utils import generate_private_key
from moto.moto_api._internal import mock_random
from moto.utilities.utils import get_partition
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date

REMEMBERED_MAX: Final = 50_000
"""Fields by object type, and expressions: some hundreds in practice."""

_NAMES: Final[dict[tuple[Any, ...], tuple[str, ...]]] = {}
_original_get_value = serialize.ResponseSerializer.get_value


def faster() -> ExitStack:
    """Put the replacements in place until the stack is closed."""
    stack = ExitStack()
    make = UpdateExpressionParser.make
    # Validators work on a copy of what is parsed, so one original serves all.
    parse = lru_cache(maxsize=REMEMBERED_MAX)(make)
    names = lru_cache(maxsize=None)(method_names_from_class)
    words = lru_cache(maxsize=REMEMBERED_MAX)(camelcase_to_underscores)
    for owner, name, ours in (
        (serialize.ResponseSerializer, "get_value", _get_value),
        (responses, "method_names_from_class", names),
        (responses, "camelcase_to_underscores", words),
        (UpdateExpressionParser, "make", staticmethod(parse)),
        (validators, "deepcopy", _copy),
        (DepthFirstTraverser, "traverse_node_recursively", _traverse),
        (Node, "find_clauses", _find_clauses),
        (ConditionExpressionParser, "_lex_condition_expression", _lex),
        (responses, "gen_amzn_requestid_long", _request_id),
        (BotocoreStubber, "process_request", _process_request),
        (Table, "all_items", _all_items),
        (Item, "project", _project),
        (kms, "generate_private_key", _private_key),
        (responses.BaseResponse, "setup_class", _setup_class),
        # Each session would read and parse the descriptions of its services anew.
        (session, "create_loader", lru_cache(maxsize=None)(session.create_loader)),
    ):
        stack.enter_context(patch.object(owner, name, ours))
    return stack


def _all_items(table: Table) -> list[Item]:
    """Every item in the order of its key, whose value is looked up once and not per comparison.

    Every query and scan begins with this, so in a table of thousands it was most of their time.
    """
    if table.range_key_attr:
        items = [item for part in table.items.values() for item in part.values()]
        return sorted(items, key=_both_keys)
    return sorted(table.items.values(), key=lambda item: item.hash_key.cast_value)  # type: ignore[arg-type]


def _both_keys(item: Any) -> tuple[Any, Any]:
    return item.hash_key.cast_value, item.range_key.cast_value


_original_project = Item.project


def _project(item: Item, paths: list[list[str]]) -> Item:
    """Pick attributes of an item; moto translates all of them, and back, for each one."""
    if any(len(path) != 1 or path[0].endswith("]") for path in paths):
        return _original_project(item, paths)
    picked = Item(item.hash_key, item.range_key, {})
    for (name,) in paths:
        if name in item.attrs:
            # The item as a whole was not too large: its parts need not be measured again.
            dict.__setitem__(picked.attrs, name, deepcopy(item.attrs[name]))
    return picked


def _get_value(serializer: Any, value: Any, key: str, shape: Any) -> Any:
    """Find a field in a dictionary: under which names is a matter of its shape alone."""
    picker = serializer._value_picker  # noqa: SLF001
    if type(value) is not dict or getattr(picker, "response_transformers", True):
        return _original_get_value(serializer, value, key, shape)
    place = (type(picker), key, shape)
    names = _NAMES.get(place)
    if names is None:
        if len(_NAMES) >= REMEMBERED_MAX:
            _NAMES.clear()
        context = serialize.AttributePickerContext(obj=value, key=key, shape=shape)
        names = _NAMES[place] = tuple(dict.fromkeys(picker.get_possible_keys(context)))
    for name in names:
        if name in value:
            return value[name]
    return None


def _copy(expression: Any) -> Any:
    """Copy a parsed expression; a pickle of it is kept, because originals are never changed."""
    kept = vars(expression).get("_pickled")
    if kept is None:
        kept = pickle.dumps(expression, pickle.HIGHEST_PROTOCOL)
        expression._pickled = kept  # noqa: SLF001
    return pickle.loads(kept)  # noqa: S301 our own, from a line above


class _Kinds(dict[type, Any]):
    """What is known of a type of node: asked once, because these are abstract classes."""

    def __init__(self, ask: Callable[[type], Any]) -> None:
        self._ask = ask

    def __missing__(self, kind: type) -> Any:
        found = self[kind] = self._ask(kind)
        return found


_IS_NODE: Final = _Kinds(lambda kind: issubclass(kind, Node))
_HOLDS_CLAUSES: Final = _Kinds(
    lambda kind: issubclass(kind, (Expression, UpdateExpressionFunction))
)
_PROCESSED: Final[dict[tuple[type, ...], _Kinds]] = {}


def _traverse(traverser: Any, node: Any, child_id: int = -1) -> Any:
    """Process nodes from the leaves up, as moto does, asking once what is processed how."""
    processors = traverser._processing_map()  # noqa: SLF001
    classes = tuple(processors)
    kinds = _PROCESSED.get(classes)
    if kinds is None:
        kinds = _PROCESSED[classes] = _Kinds(
            lambda kind: next((each for each in classes if issubclass(kind, each)), None)
        )
    hooked = (
        type(traverser).pre_processing_of_child is not DepthFirstTraverser.pre_processing_of_child
    )
    return _visit(traverser if hooked else None, processors, kinds, node, child_id)


def _visit(
    hooked: Any, processors: dict[type, Callable[[Any], Any]], kinds: _Kinds, node: Any, place: int
) -> Any:
    parent = node.parent
    for number, child in enumerate(node.children or ()):
        if hooked is not None:
            hooked.pre_processing_of_child(node, number)
        if _IS_NODE[type(child)]:
            _visit(hooked, processors, kinds, child, number)
    kind = kinds[type(node)]
    if kind is not None:
        node = processors[kind](node)
        node.parent = parent
        if parent:
            parent.children[place] = node
    return node


def _find_clauses(node: Any, clause_types: list[type]) -> list[Any]:
    clauses: list[Any] = []
    for child in node.children or ():
        kind = type(child)
        if kind in clause_types:
            clauses.append(child)
        elif _HOLDS_CLAUSES[kind]:
            clauses.extend(_find_clauses(child, clause_types))
    return clauses


_TOKENS: Final[dict[str, tuple[Any, ...]]] = {}
_original_lex = ConditionExpressionParser._lex_condition_expression  # noqa: SLF001


def _lex(parser: ConditionExpressionParser) -> deque[Any]:
    """Split a condition into tokens, which are tuples and depend on its text alone."""
    text = parser.condition_expression or ""
    known = _TOKENS.get(text)
    if known is None:
        if len(_TOKENS) >= REMEMBERED_MAX:
            _TOKENS.clear()
        known = _TOKENS[text] = tuple(_original_lex(parser))
    return deque(known)


def _request_id(headers: dict[str, Any] | None = None) -> str:
    """A request id of 52 characters, drawn once and not 52 times."""
    identity = f"{mock_random.getrandbits(208):052X}"
    if headers is not None:
        headers["x-amzn-requestid"] = identity
    return identity


_original_private_key = generate_private_key


def _private_key(key_spec: str) -> Any:
    """Keys that encrypt have no private part; moto gives them one, which takes 0.1 s."""
    return None if key_spec == "SYMMETRIC_DEFAULT" else _original_private_key(key_spec)


_original_setup_class = responses.BaseResponse.setup_class


def _setup_class(
    response: Any,
    request: Any,
    full_url: str | None = None,
    headers: Any = None,
    use_raw_body: bool | None = None,  # noqa: FBT001 as moto has it
) -> None:
    """Take in a request of the JSON protocol without looking for a form or a query in it."""
    environ = request.environ
    simple = (
        full_url in (None, request.raw_url)
        and not (response.use_raw_body if use_raw_body is None else use_raw_body)
        and "HTTP_X_AMZ_TARGET" in environ
        and "HTTP_X_MOTO_ACCOUNT_ID" in environ
        and environ.get("CONTENT_TYPE", "").startswith("application/x-amz-json")
        and not environ.get("QUERY_STRING")
        and not environ.get("HTTP_CONTENT_ENCODING")
    )
    if not simple:
        _original_setup_class(response, request, full_url, headers, use_raw_body)
        return
    url = request.raw_url
    response.is_werkzeug_request = request.from_wsgi_server
    response.normalized_request = request
    response.parsed_url = parsed = urlparse(url)
    response.raw_body = request.data
    response.body = request.data.decode()
    response.form_data = {}
    response.querystring = response.data = {}
    response.uri, response.path, response.raw_path = url, parsed.path, request.raw_path
    response.method = request.method
    response.region = response.get_region_from_url(request, url)
    response.partition = get_partition(response.region)
    response.uri_match = {}
    response.headers = request.headers
    response.response_headers = {"server": "amazon.com"}
    if not response.is_werkzeug_request:
        response.response_headers["date"] = http_date(utcnow())
    if response.automated_parameter_parsing:
        response.parse_parameters(request)
    response.access_key = response.get_access_key()
    response.current_account = response.get_current_account()
    mark_account_as_visited(
        account_id=response.current_account,
        access_key=response.access_key,
        service=response.service_name,
        region=response.region,
    )


_METHODS: Final[dict[str, Callable[..., Any]]] = {}
_original_process_request = BotocoreStubber.process_request


def _process_request(stubber: BotocoreStubber, request: Any) -> Any:
    """Keep who serves an address, if one does all its requests, instead of trying 600 patterns."""
    method = _METHODS.get(request.url)
    if method is None:
        answer = _original_process_request(stubber, request)
        path = request.url.partition("://")[2].partition("/")[2]
        if answer is not None and request.method == "POST" and not path:
            _remember(request.url)
        return answer
    normal = _normal(request)
    try:
        return method(normal, normal.raw_url, normal.headers)
    except HTTPException as error:
        return error.code, error.get_headers(), error.get_body()


def _normal(request: Any) -> Any:
    """Moto's form of a request to an address without a path, made without parsing it again.

    moto has werkzeug build an environment from an address, headers and a body, as a test of a web
    application does, which takes longer than what most services then do.
    """
    body = request.body
    if not isinstance(body, bytes):
        return normalize_request(request)
    address = request.url.rstrip("/")
    scheme, _, host = address.partition("://")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "REQUEST_URI": "/",
        "RAW_URI": "/",
        "SERVER_NAME": host,
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        PRESERVED_HEADER_NAMES_ENVIRON_KEY: {},
    }
    for name, value in request.headers.items():
        text = value.decode() if isinstance(value, bytes) else value
        environ[environ_key_for_header(name)] = text
    environ["CONTENT_LENGTH"] = str(len(body))
    return Request(environ)


def _remember(address: str) -> None:
    """Find the method as moto does: the first service whose pattern fits, the first of its own."""
    service = next((name for name, each in backend_url_patterns if each.match(address)), None)
    if service is None:
        return
    regions: Any = backends.get_backend(service)  # type: ignore[call-overload]
    if isinstance(regions, BackendDict):
        backend = next(iter(regions[DEFAULT_ACCOUNT_ID].values()), None)
        for pattern, method in backend.urls.items() if backend else ():
            if re.match(pattern, address):
                _METHODS[address] = method
                return
