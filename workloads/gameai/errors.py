"""Domain errors and what a caller is told of them: one table of gRPC status codes."""

from collections.abc import Mapping
from types import MappingProxyType

import grpc


class ServiceFault(Exception):  # noqa: N818 - the base of those that are named for what went wrong
    """An error whose message is meant for the caller."""


class NotFoundError(ServiceFault):
    """What was asked for does not exist; the message names what does."""


class InvalidArgumentError(ServiceFault):
    """The request cannot be honoured; the message names the field and the remedy."""


class PermissionDeniedError(ServiceFault):
    """The caller is known, and may not; the message says who could allow it."""


class UnauthenticatedError(ServiceFault):
    """The caller is not known; the message says how to be, and nothing of what was sent."""


class ExhaustedError(ServiceFault):
    """The caller has as much as it may have; the message names the limit."""


class DrainingError(ServiceFault):
    """This replica is going away; another answers."""


CODES: Mapping[type[ServiceFault], grpc.StatusCode] = MappingProxyType(
    {
        NotFoundError: grpc.StatusCode.NOT_FOUND,
        InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
        PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
        UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
        ExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        DrainingError: grpc.StatusCode.UNAVAILABLE,
    }
)
INTERNAL_MESSAGE = "internal error; the service's log has it"


def told(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Code and message for the caller; of an error that is not ours, nothing of its text."""
    code = CODES.get(type(error)) if isinstance(error, ServiceFault) else None
    return (code, str(error)) if code else (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
