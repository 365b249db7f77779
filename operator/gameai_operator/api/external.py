"""PURE: the engine of a tier that is an external service."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from gameai_operator.api.base import Model, ObjectName, Price, Rule
from gameai_operator.api.database import SecretKey
from gameai_operator.api.embedding import KEY_IN_CLEAR, ModelName, ServiceUrl, key_rule


class ApiKey(Model):
    """A Secret with an API key."""

    name: ObjectName
    """Name of the Secret, in the namespace of the tier. Example: openai."""
    key: SecretKey = "apiKey"
    """Key in it. Example: apiKey."""


class TokenLimit(StrEnum):
    """How a request limits the tokens of its answer."""

    MAX_TOKENS = "MaxTokens"
    MAX_COMPLETION_TOKENS = "MaxCompletionTokens"


class OpenAIEngine(Model):
    """A service that answers POST <url>/chat/completions as OpenAI does: OpenAI, vLLM, or a gateway to Amazon SageMaker or Bedrock. It gets the prompts of all roles of the tier."""

    url: ServiceUrl
    """URL of its API, without /chat/completions. Example: https://api.openai.com/v1."""
    model: ModelName
    """Name of its model. Example: gpt-4.1-mini."""
    secret_ref: ApiKey | None = None
    """API key that is sent to the service. After a change of the Secret: kubectl rollout restart deployment <tier>-on-demand. Absent: none is sent. Example: {name: openai}."""
    token_limit: TokenLimit = TokenLimit.MAX_TOKENS
    """Parameter that limits the tokens of an answer: MaxTokens (max_tokens), or MaxCompletionTokens (max_completion_tokens, which reasoning models of OpenAI require)."""
    rules: ClassVar[tuple[Rule, ...]] = (key_rule(KEY_IN_CLEAR),)


class Budget(Model):
    """What each replica may spend. A request counts with its largest price until its answer says what it used. A replica that restarts begins with the whole budget."""

    usd_per_hour: Price
    """Most that one replica may spend in any 60 minutes, in USD. A replica that has spent it is not ready until enough minutes have passed, and jobs wait. Example: "5"."""
    input_usd_per_million_tokens: Price
    """Price of a million tokens of prompts, in USD. Example: "0.4"."""
    output_usd_per_million_tokens: Price
    """Price of a million tokens of answers, in USD. Example: "1.6"."""


class External(Model):
    """An external service. Each replica of the tier is a pod without a GPU: a proxy that forwards requests and holds the API key."""

    open_ai: Annotated[OpenAIEngine, Field(alias="openAI")]
    """A service with the chat completions API of OpenAI. Example: {url: https://api.openai.com/v1, model: gpt-4.1-mini, secretRef: {name: openai}}."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=256)] = 16
    """Requests that one replica sends at a time. Example: 16."""
    max_context_tokens: Annotated[int, Field(ge=256, le=1_048_576)] = 32_768
    """Maximum length of prompt plus completion of the service's model, in tokens. Gateways refuse longer prompts. Example: 131072."""
    budget: Budget | None = None
    """What each replica may spend. Absent: no limit."""
