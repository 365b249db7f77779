"""PURE: a game service of a world: one of the catalogue, or an own image."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from gameai_operator.api.base import (
    LIST_SET,
    EnvironmentVariable,
    LocalReference,
    Model,
    ObjectName,
    Quantity,
    Rule,
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
    """How a service is asked whether it is ready and alive."""

    GRPC = "GRPC"
    TCP = "TCP"
    NONE = "None"


class Resources(Model):
    """What one replica asks for."""

    cpu: Quantity | None = None
    """CPU request, in cores; never a limit. Default: by the catalogue, or 50m. Example: 100m."""
    cpu_limit: Quantity | None = None
    """CPU limit, in cores, for namespaces whose ResourceQuota or LimitRange wants one. Default: none. Example: "1"."""
    memory: Quantity | None = None
    """Memory request and limit, in bytes. Default: by the catalogue, or 128Mi. Example: 256Mi."""


class EnvironmentSource(Model):
    """Variables from all keys of an object in the world's namespace; exactly one."""

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
        f"{field} goes with image, and only with it: {remedy}",
        f".{field}",
    )


class GameService(Model):
    """One service of a world."""

    name: ServiceName
    """Name; without image it is looked up in the catalogue: time-manager, weather-manager. Example: weather-manager."""
    image: (
        Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")] | None
    ) = None
    """Own container image. Absent: the service of this name in the catalogue. Example: registry.example/duel:1.2."""
    settings: Annotated[dict[str, SettingValue], Field(max_length=32)] = {}
    """Start-time settings, typed by the catalogue; a change restarts the service's pods. Default: by the catalogue. Example: {climate: Maritime}."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """Pods wanted while the world is Running."""
    resources: Resources = Resources()
    """What one replica asks for. Default: by the catalogue."""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Port that an own image listens on. Default: 50051. Example: 50051."""
    probe: Probe | None = None
    """How an own image is probed: GRPC (grpc.health.v1), TCP or None. Default: GRPC. Example: TCP."""
    env: Annotated[
        tuple[EnvironmentVariable, ...], Field(max_length=64, json_schema_extra=list_map("name"))
    ] = ()
    """Environment variables, told apart by name. Default: none. Example: [{name: LOG_LEVEL, value: DEBUG}]."""
    env_from: Annotated[tuple[EnvironmentSource, ...], Field(max_length=8)] = ()
    """Objects whose keys become variables, in order. Default: none. Example: [{secretRef: {name: duel-keys}}]."""
    writable_paths: Annotated[
        tuple[WritablePath, ...], Field(max_length=8, json_schema_extra=LIST_SET)
    ] = ()
    """Folders that an own image may write to, up to 1Gi each; the rest of its file system is read-only. Default: /tmp. Example: [/var/cache/duel]."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, which may then ask the gateway for this world. Absent: the world's, which has no rights. Example: duel."""
    api_token: bool = False
    """Whether the pods get a token for the Kubernetes API, with the rights of their account. Before pod template revision 3 they also get it where serviceAccountName is set. Default: false."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = ()
    """Secrets for pulling the image. Default: none. Example: [{name: registry}]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        _with_image("port", "services of the catalogue listen on 50051"),
        _with_image("probe", "services of the catalogue have their own"),
        _with_image("writablePaths", "services of the catalogue write to /tmp only"),
        Rule(
            "!has(self.env) || self.env.all(e, !e.name.startsWith('GAMEAI_'))",
            "env must not set GAMEAI_*: the operator does, from the world's spec",
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
