"""What OpenAPI cannot say about the API, said to schemathesis.

Each rule here is one that the server enforces; tests in tests/ show that it does.
"""

import schemathesis
from schemathesis import GenerationMode
from schemathesis.openapi.checks import UseAfterFree


@schemathesis.hook
def before_call(context, case, kwargs):
    """Has what is meant to be accepted keep the rules between parameters.

    Schemathesis looks anew at whether a request is as described after it was changed here.
    """
    path = context.operation.path
    if path == "/changes":
        changes_that_end(case.query)
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.method in ("GET", "HEAD") and path in RULES:
        RULES[path](case)
    if isinstance(case.query.get("ttl"), float):
        case.query["ttl"] = round(case.query["ttl"], 3)
    if path in ("/api", "/batch", "/docs/{id}/increment"):
        plain_numbers(case.body)
    if path == "/batch" or case.media_type == "application/json-patch+json":
        movable(case.body)


def changes_that_end(query):
    """Without wait= the answer of /changes never ends; nor is there time to wait for changes."""
    if "wait" not in query or query["wait"] in range(301):
        query["wait"] = 0


def positions_in_the_log(case):
    """A position is one that the log has come to."""
    for values, name in ((case.query, "since"), (case.headers, "Last-Event-ID")):
        if values.get(name):
            values[name] = "0"


def one_part(case):
    """A part of a document is asked for by pointer= or by fields=."""
    if "pointer" in case.query:
        case.query.pop("fields", None)


def one_listing(case):
    """ids= stands alone, and a cursor is one that the server gave."""
    case.query.pop("after", None)
    if isinstance(case.query.get("ids"), list):  # taken from an answer
        case.query["ids"] = ",".join(map(str, case.query["ids"]))
    if "ids" in case.query:
        for name in ("limit", "prefix", "include"):
            case.query.pop(name, None)


def keys_of_command(case):
    """Each query of /api/cmd has keys of its own."""
    needed = {
        "ONLY": {"cmd[keys][]": ["color"]},
        "FILTER_BOOL": {"cmd[keys][key]": "colors", "cmd[keys][by]": "is_blue"},
    }
    for name, value in needed.get(str(case.query.get("cmd[query]")), {}).items():
        if case.query.get(name) in (None, []):
            case.query[name] = value


RULES = {
    "/docs/{id}": one_part,
    "/docs": one_listing,
    "/api/cmd": keys_of_command,
    "/changes": positions_in_the_log,
}


def members(body, name):
    """The objects in the body that have a member of that name, but not in documents."""
    if isinstance(body, list):
        for element in body:
            yield from members(element, name)
    if isinstance(body, dict):
        if name in body:
            yield body
        for key, value in body.items():
            if key not in ("data", "value", "merge"):
                yield from members(value, name)


def plain_numbers(body):
    """Seconds have at most three decimals and integers no fraction: to JSON Schema, 1.0 is one."""
    for name in ("ttl", "expires_at"):
        for owner in members(body, name):
            if isinstance(owner[name], float):
                owner[name] = round(owner[name], 3)
    for name in ("id", "by", "default"):
        for owner in members(body, name):
            if isinstance(owner[name], float) and owner[name].is_integer():
                owner[name] = int(owner[name])


def movable(body):
    """Nothing moves into itself."""
    for step in members(body, "from"):
        if step.get("op") == "move" and step["path"].startswith(step["from"] + "/"):
            step["from"] = step["path"]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Leaves out what is as it should be."""
    # With Prefer: return=minimal a 201 has no body, so there is no type of it to check.
    is_minimal = response.headers.get("preference-applied") == ["return=minimal"]
    if is_minimal and response.status_code == 201 and not response.content:
        return False
    # OPTIONS answers for the path: no sign that a document is still there after a DELETE.
    return not (case.method == "OPTIONS" and isinstance(failure, UseAfterFree))
