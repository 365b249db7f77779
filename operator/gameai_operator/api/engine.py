"""PURE: the engine of a tier: vLLM, or a service elsewhere."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import (
    EnvironmentVariable,
    Model,
    Rule,
    image_rule,
    list_map,
)
from gameai_operator.api.external import External

DEFAULT_IMAGE = "vllm/vllm-openai:v0.32.0"
# Names that the operator sets itself, or that would bypass a field of the spec.
RESERVED_ENVIRONMENT = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HOME",
    "VLLM_API_KEY",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
    "VLLM_NO_USAGE_STATS",
)


def _reserved_rule() -> Rule:
    names = ", ".join(f"'{name}'" for name in RESERVED_ENVIRONMENT)
    return Rule(
        f"!has(self.env) || self.env.all(e, !e.name.startsWith('GAMEAI_') && !e.name.startsWith('NVIDIA_') && !(e.name in [{names}]))",
        "env must not set GAMEAI_*, NVIDIA_* (which could show a pod GPUs that it did not ask for), HOME, HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, VLLM_API_KEY or a VLLM_* "
        "variable that the operator sets: use model.source, model.cache and startTimeoutSeconds",
        ".env",
        "FieldValueForbidden",
    )


class Vllm(Model):
    """vLLM pods managed by the operator."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")] = (
        DEFAULT_IMAGE
    )
    """Container image; the known flags follow from its tag. Example: vllm/vllm-openai:v0.32.0."""
    args: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64)] = ()
    """Additional arguments of `vllm serve`, in order. Arguments that have a field in this spec are rejected. Default: none. Example: [--max-num-seqs=64]."""
    env: Annotated[
        tuple[EnvironmentVariable, ...], Field(max_length=64, json_schema_extra=list_map("name"))
    ] = ()
    """Environment variables, identified by name. Default: none. Example: [{name: VLLM_LOGGING_LEVEL, value: DEBUG}]."""
    start_timeout_seconds: Annotated[int, Field(ge=30, le=7200)] = 1500
    """Time that a pod may take to load (download, weights, compilation), in seconds. After that it is restarted. Example: 1500."""
    rules: ClassVar[tuple[Rule, ...]] = (
        _reserved_rule(),
        image_rule("vllm/vllm-openai:v0.32.0"),
    )


class Engine(Model):
    """The inference engine: vLLM, or an external service."""

    vllm: Vllm | None = None
    """vLLM pods managed by the operator. Example: {image: "vllm/vllm-openai:v0.32.0"}."""
    external: External | None = None
    """An external, OpenAI-compatible service instead of vLLM. Requires class Bronze. Example: {openAI: {url: https://api.openai.com/v1, model: gpt-4.1-mini, secretRef: {name: openai}}}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.vllm) != has(self.external)",
            "exactly one of vllm, external must be set",
        ),
    )

    @property
    def effective_vllm(self) -> Vllm:
        """vLLM, of an external engine with its defaults."""
        return self.vllm or Vllm()
