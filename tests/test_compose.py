"""docker-compose.yml is what the Compose specification allows, and holds what it promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from check_jsonschema import main  # type: ignore[import-untyped]
from click.testing import CliRunner, Result
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agentdb import urls

FILE = Path(__file__).parents[1] / "docker-compose.yml"

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]+$", strict=True)]
Text = Annotated[str, StringConstraints(strict=True)]
Duration = Annotated[str, StringConstraints(pattern=r"^(\d+(us|ms|s|m|h))+$", strict=True)]
Port = Annotated[str, StringConstraints(pattern=r"^127\.0\.0\.1:\d+:\d+$", strict=True)]  # this machine's alone


class Strict(BaseModel):
    """What the specification calls an object without additional properties."""

    model_config = ConfigDict(extra="forbid")


class Healthcheck(Strict):
    test: Annotated[list[Text], Field(min_length=2)]
    interval: Duration
    timeout: Duration
    retries: Annotated[int, Field(ge=1)]
    start_period: Duration | None = None


class Awaited(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Mounted(Strict):
    source: Name
    target: Text


class Service(Strict):
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9./-]+:[\w.-]+$")]
    healthcheck: Healthcheck
    ports: list[Port]
    command: list[Text] | None = None
    configs: list[Mounted] = []
    depends_on: dict[Name, Awaited] = {}
    environment: dict[Text, Text] = {}  # numbers and booleans are allowed too, and are read by no two tools alike
    profiles: list[Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")]] = []
    shm_size: Annotated[str, StringConstraints(pattern=r"^\d+(b|kb|mb|gb|k|m|g)$")] | None = None
    stop_grace_period: Duration | None = None
    user: Text | None = None
    volumes: list[Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]+:/[\w/.-]+$")]] = []


class Config(Strict):
    content: Text


class Compose(Strict):
    """The part of the specification that is used here, and narrower: what it does not know is refused."""

    services: dict[Name, Service]
    volumes: dict[Name, None]
    configs: dict[Name, Config] = {}


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose(document: Any) -> Compose:
    return Compose.model_validate(document)


def checked(file: Path) -> Result:
    """Return what the specification's own schema says of a file."""
    return CliRunner().invoke(main, ["--builtin-schema", "vendor.compose-spec", str(file)])


def test_the_specifications_own_schema_is_kept() -> None:
    found = checked(FILE)

    assert found.exit_code == 0, found.output


def test_the_specifications_own_schema_refuses_what_it_does_not_know(document: Any, tmp_path: Path) -> None:
    document = yaml.safe_load(yaml.safe_dump(document))
    document["services"]["postgresql"]["helthcheck"] = {}
    changed = tmp_path / "docker-compose.yml"
    changed.write_text(yaml.safe_dump(document), encoding="utf-8")

    found = checked(changed)

    assert found.exit_code == 1
    assert "helthcheck" in found.output


def test_what_is_not_meant_here_is_refused(document: Any) -> None:
    for path, value in {
        ("services", "postgresql", "helthcheck"): {},
        ("services", "postgresql", "ports"): ["0.0.0.0:5432:5432"],
        ("services", "pgbouncer", "depends_on"): {"postgresql": {"condition": "healthy"}},
        ("volumes", "replica"): "somewhere",
        ("service",): {},
    }.items():
        changed = yaml.safe_load(yaml.safe_dump(document))
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

        with pytest.raises(ValidationError):
            Compose.model_validate(changed)


def test_what_is_named_is_there(compose: Compose) -> None:
    for service in compose.services.values():
        assert service.depends_on.keys() <= compose.services.keys()
        assert {mounted.source for mounted in service.configs} <= compose.configs.keys()
        assert {volume.partition(":")[0] for volume in service.volumes} <= compose.volumes.keys()
        for other in service.depends_on:
            # One that is always started may not wait for one that is not.
            assert set(compose.services[other].profiles) <= set(service.profiles)


def test_ports_and_volumes_are_nobody_elses(compose: Compose) -> None:
    ports = [port for service in compose.services.values() for port in service.ports]
    volumes = [volume.partition(":")[0] for service in compose.services.values() for volume in service.volumes]

    assert len({port.split(":")[1] for port in ports}) == len(ports)
    assert sorted(volumes) == sorted(compose.volumes)


def test_there_are_a_server_a_pooler_and_a_replica_that_is_asked_for(compose: Compose) -> None:
    services = compose.services

    assert {name: service.profiles for name, service in services.items()} == {
        "postgresql": [],
        "pgbouncer": [],
        "replica": ["replica"],
    }
    assert services["pgbouncer"].environment["POOL_MODE"] == "transaction"
    assert services["replica"].image == services["postgresql"].image
    assert all(
        awaited.condition == "service_healthy"
        for service in services.values()
        for awaited in service.depends_on.values()
    )


def test_the_urls_told_above_are_those_of_the_services(compose: Compose) -> None:
    told = re.findall(r"^# .*?(AGENTDB_\w+)=(postgresql://\S+)", FILE.read_text(encoding="utf-8"), re.MULTILINE)
    ports = {int(port.split(":")[1]) for service in compose.services.values() for port in service.ports}
    given = compose.services["postgresql"].environment

    targets = [urls.parse(url, source=name, environment={}) for name, url in told]

    assert {target.port for target in targets} == ports
    for target in targets:
        assert target.password is not None
        assert (target.user, target.password.get_secret_value(), target.database) == (
            given["POSTGRES_USER"],
            given["POSTGRES_PASSWORD"],
            given["POSTGRES_DB"],
        )


def test_shells_get_their_own_variables(document: Any) -> None:
    """A single dollar is Compose's own, and would be filled in before a shell sees it."""
    scripts = [document["services"]["replica"]["command"][-1], *(c["content"] for c in document["configs"].values())]

    assert all("$" not in script.replace("$$", "") for script in scripts)
