"""schemas/api.json is true: its operations and parameters are those of the code, and its examples do what they say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from fastapi.routing import iter_route_contexts
from tests.conftest import Person, Running, copied, serving

from isac.app import create_app
from isac.package_data import package_data
from isac.serve import forms, problems
from isac.stix.markings import TLP

DESCRIBED: dict[str, Any] = json.loads((package_data("schemas") / "api.json").read_bytes())
POSTS = [(path, item["post"]) for path, item in DESCRIBED["paths"].items() if "post" in item]
#: path, media type, name and content of each example of a request
EXAMPLES = [
    (path, media_type, name, example["value"])
    for path, operation in POSTS
    for media_type, content in operation["requestBody"]["content"].items()
    for name, example in content.get("examples", {}).items()
]


def schema(part: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**part, "components": DESCRIBED["components"]}, validate_formats=True)


def alike(answer: Any) -> Any:
    """Without what differs each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", json.dumps(answer))
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z", "TIME", text)
    return json.loads(text.replace("us-oh-39049", "us-oh-39901").replace("Example County", "Elm County"))


@pytest.fixture(scope="module")
def clerk(postgres: str, template: dict[str, Person]) -> Iterator[httpx2.Client]:
    person = template["franklin_submitter"]
    with copied(postgres) as url, serving(url, samples=True) as server:
        auth = (person.key_id, person.secret)
        with httpx2.Client(base_url=f"{server.base}/api/v1", auth=auth, trust_env=False) as http:
            yield http


def parameters(operation: dict[str, Any]) -> dict[str, str]:
    """Those that have examples."""
    found = {each["name"]: each["example"] for each in operation.get("parameters", []) if "example" in each}
    return {name: json.dumps(value) if value is True else str(value) for name, value in found.items()}


def send(http: httpx2.Client, path: str, media_type: str, value: Any) -> httpx2.Response:
    query = {
        name: text.replace("us-oh-39049", "us-oh-39901")
        for name, text in parameters(DESCRIBED["paths"][path]["post"]).items()
    }
    if media_type == "multipart/form-data":
        texts = {name: json.dumps(text) if text is True else text for name, text in value.items() if name != "file"}
        return http.post(path, files={"file": ("list.txt", value["file"].encode())}, data=texts)
    content = value if isinstance(value, str) else json.dumps(value)
    return http.post(path, params=query, content=content.encode(), headers={"Content-Type": media_type})


@pytest.mark.parametrize(("path", "media_type", "name", "value"), EXAMPLES, ids=[f"{e[0]} {e[2]}" for e in EXAMPLES])
def test_each_example_does_what_it_says(
    clerk: httpx2.Client, path: str, media_type: str, name: str, value: Any
) -> None:
    answer = send(clerk, path, media_type, value)
    responses = DESCRIBED["paths"][path]["post"]["responses"]
    told = {
        status: response["content"]["application/json"]["examples"][name]["value"]
        for status, response in responses.items()
        if name in response.get("content", {}).get("application/json", {}).get("examples", {})
    }

    assert answer.status_code == (202 if name == "held" else 200), answer.text
    schema(responses[str(answer.status_code)]["content"]["application/json"]["schema"]).validate(answer.json())
    assert not told or alike(told) == {str(answer.status_code): alike(answer.json())}
    assert answer.json().get("counts", {"accepted": 1})["accepted"] or name == "held"


def test_what_is_listed_and_shown_is_as_described(clerk: httpx2.Client) -> None:
    posted = send(clerk, "/submissions", "text/plain", "host-9.example\nno indicator\n").json()
    page = clerk.get("/submissions", params={"limit": 1}).json()
    items = DESCRIBED["paths"]

    schema(items["/submissions"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]).validate(page)
    assert page["submissions"][0]["id"] == posted["id"]
    shown = clerk.get(f"/submissions/{posted['id']}").json()
    schema(items["/submissions/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]).validate(
        shown
    )
    assert shown == posted


@pytest.mark.parametrize(
    ("method", "path", "status", "more"),
    [
        ("POST", "/submissions?dryrun=true", 400, {"content": b"x"}),
        ("GET", "/submissions/x", 404, {}),
        ("POST", "/submissions", 415, {"content": b"x", "headers": {"Content-Encoding": "br"}}),
        ("POST", "/submissions?format=csv", 422, {"content": b"ioc,comment\n"}),
        ("PUT", "/submissions", 405, {}),
        ("GET", "/nothing", 404, {}),
        ("GET", "/submissions", 401, {"auth": ("x", "y")}),
    ],
)
def test_problems_are_as_described(
    clerk: httpx2.Client, method: str, path: str, status: int, more: dict[str, Any]
) -> None:
    answer = clerk.request(method, path, **more)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    schema({"$ref": "#/components/schemas/Problem"}).validate(answer.json())
    assert answer.json()["detail"]


def test_examples_of_problems_are_as_described() -> None:
    for response in DESCRIBED["components"]["responses"].values():
        content = response["content"]["application/problem+json"]
        schema(content["schema"]).validate(content["example"])


def test_it_names_the_operations_that_there_are() -> None:
    app = create_app(database_url="postgresql://nobody@nowhere.example/isac")
    there = {
        (method.lower(), re.sub(r"\{\w+_id\}", "{id}", route.path.removeprefix("/api/v1")))
        for route in iter_route_contexts(app.routes)
        if route.path and route.path.startswith(problems.ROOT)
        for method in route.methods or ()
    }

    assert {(method, path) for path, item in DESCRIBED["paths"].items() for method in item} == there


def test_it_names_the_parameters_that_there_are() -> None:
    post = DESCRIBED["paths"]["/submissions"]["post"]
    queries = [each["name"] for each in post["parameters"] if each["in"] == "query"]
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    formats = next(each["schema"]["enum"] for each in post["parameters"] if each["name"] == "format")
    marks = next(each["schema"]["enum"] for each in post["parameters"] if each["name"] == "tlp")

    assert queries == [*forms.PARAMETERS]
    assert [*form] == ["file", *forms.PARAMETERS]
    assert formats == [*forms.FORMATS]
    assert marks == [str(tlp) for tlp in TLP]
    types = DESCRIBED["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert types == [f"urn:isac:problem:{name}" for name in (*problems.TYPES.values(), "other")]


def test_it_is_served_to_who_has_a_key(clerk: httpx2.Client) -> None:
    answer = clerk.get("/openapi.json")

    assert answer.json() == DESCRIBED
    assert answer.headers["content-type"] == "application/json"
    assert clerk.get("/openapi.json", auth=("x", "y")).status_code == 401


def test_there_is_no_page_that_loads_scripts_from_elsewhere(server: Running, people: dict[str, Person]) -> None:
    person = people["franklin_submitter"]
    with httpx2.Client(base_url=server.base, auth=(person.key_id, person.secret), trust_env=False) as http:
        assert {http.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json", "/api/v1/docs")} == {404}
