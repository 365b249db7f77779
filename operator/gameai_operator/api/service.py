"""PURE: a game service of a world: one of the catalogue, or an own image."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.catalogue import CATALOGUE
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from gameai_operator.api.base import (
    LIST_SET,
    EnvironmentVariable,
    LocalReference,
    Model,
    ObjectName,
    Quantity,
    Rule,
    image_rule,
    list_map,
)

ServiceName = Annotated[
    str, StringConstraints(min_length=1, max_length=24, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
]
# `stepMinutes: 30` and `stepMinutes: "30"` are both taken; inside there is one form.
SettingValue = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 1024,
        }
    ),
]
WritablePath = Annotated[str, StringConstraints(max_length=253, pattern=r"^/[\w.-]+(/[\w.-]+)*$")]


class Probe(StrEnum):
    """Type of the readiness and liveness probes."""

    GRPC = "GRPC"
    TCP = "TCP"
    NONE = "None"


class Resources(Model):
    """Resources of one replica."""

    cpu: Quantity | None = None
    """CPU request, in cores. No CPU limit is set from it. Default: from the catalogue, or 50m. Example: 100m."""
    cpu_limit: Quantity | None = None
    """CPU limit, in cores, for namespaces where a ResourceQuota or LimitRange requires one. Default: none. Example: "1"."""
    memory: Quantity | None = None
    """Memory request and limit, in bytes. Default: from the catalogue, or 128Mi. Example: 256Mi."""


class EnvironmentSource(Model):
    """Environment variables from all keys of one ConfigMap or Secret in the world's namespace."""

    config_map_ref: LocalReference | None = None
    """A ConfigMap. Example: {name: duel-settings}."""
    secret_ref: LocalReference | None = None
    """A Secret. Example: {name: duel-keys}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.configMapRef) != has(self.secretRef)",
            "exactly one of configMapRef, secretRef must be set",
        ),
    )


def _with_image(field: str, remedy: str) -> Rule:
    return Rule(
        f"has(self.image) || !has(self.{field})",
        f"{field} is only valid with image: {remedy}",
        f".{field}",
    )


# Built-in services that may consume events.
_CONSUMING = tuple(name for name, each in CATALOGUE.items() if each.consumes_events)


class GameService(Model):
    """One service of a world."""

    name: ServiceName
    """Name of the service. Without image it must be one of the built-in services in docs/reference/services.md. Example: weather-manager."""
    image: (
        Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")] | None
    ) = None
    """Container image of a custom service. Absent: the built-in service of this name. Example: registry.example/duel:1.2."""
    settings: Annotated[dict[str, SettingValue], Field(max_length=32)] = {}
    """Settings of the service; the catalogue defines names and types. A change restarts its pods. Default: from the catalogue. Example: {climate: Maritime}."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """Desired replicas while the world is Running."""
    resources: Resources = Resources()
    """Resources of one replica. Default: from the catalogue."""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """gRPC or TCP port of a custom image. Default: 50051. Example: 50051."""
    probe: Probe | None = None
    """Probe type of a custom image: GRPC (grpc.health.v1), TCP or None. Default: GRPC. Example: TCP."""
    env: Annotated[
        tuple[EnvironmentVariable, ...], Field(max_length=64, json_schema_extra=list_map("name"))
    ] = ()
    """Environment variables, keyed by name. Default: none. Example: [{name: LOG_LEVEL, value: DEBUG}]."""
    env_from: Annotated[tuple[EnvironmentSource, ...], Field(max_length=8)] = ()
    """ConfigMaps and Secrets that provide environment variables, in order. Default: none. Example: [{secretRef: {name: duel-keys}}]."""
    writable_paths: Annotated[
        tuple[WritablePath, ...], Field(max_length=8, json_schema_extra=LIST_SET)
    ] = ()
    """Writable directories of a custom image, up to 1Gi each. The rest of the file system is read-only. Default: /tmp. Example: [/var/cache/duel]."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods. It may send requests for this world to the gateway. Absent: the world's own, which has no permissions. Example: duel."""
    consumes: Annotated[
        tuple[ServiceName, ...], Field(max_length=16, json_schema_extra=LIST_SET)
    ] = ()
    """Services of this world whose events this service consumes from the event bus. It needs a custom image that reads them or the built-in service world-state, and a bus in the cluster. Default: none. Example: [time-manager]."""
    api_token: bool = False
    """Mounts a token for the Kubernetes API with the permissions of the ServiceAccount. Before pod template revision 3 it is also mounted if serviceAccountName is set. Default: false."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = ()
    """Image pull Secrets. Default: none. Example: [{name: registry}]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        image_rule("registry.example/duel:1.2"),
        _with_image("port", "built-in services listen on 50051"),
        _with_image("probe", "built-in services define their own probes"),
        _with_image("writablePaths", "built-in services write to /tmp only"),
        Rule(
            f"has(self.image) || !has(self.consumes) || self.name in [{', '.join(map(repr, _CONSUMING))}]",
            f"consumes is only valid with image, or for {', '.join(_CONSUMING)}: other built-in services consume no events",
            ".consumes",
        ),
        Rule(
            "!has(self.env) || self.env.all(e, !e.name.startsWith('GAMEAI_'))",
            "env must not set GAMEAI_*: the operator sets these variables from the spec",
            ".env",
            "FieldValueForbidden",
        ),
        Rule(
            "!has(self.writablePaths) || self.writablePaths.all(p, p != '/etc/gameai' && "
            "!p.startsWith('/etc/gameai/') && !p.split('/').exists(part, part == '..' || part == '.'))",
            "writablePaths must not hold '.' or '..', nor lie in /etc/gameai, which holds the world's configuration",
            ".writablePaths",
            "FieldValueForbidden",
        ),
    )
