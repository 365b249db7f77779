"""PURE: domain errors and the status that a caller gets: one table of codes, with the details that AIP-193 asks for."""

from collections.abc import Mapping
from types import MappingProxyType

from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

# Of every google.rpc.ErrorInfo.
DOMAIN = "gameai.dev"
INTERNAL_MESSAGE = "internal error; the service's log has it"


class ServiceFault(Exception):  # noqa: N818 - the base of those that are named for what went wrong
    """An error with a message for the caller; `field` is the invalid field of the request, if there is one."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(ServiceFault):
    """What was asked for does not exist; the message names what does."""


class InvalidArgumentError(ServiceFault):
    """The request cannot be honoured; the message names the field and the remedy."""


class PermissionDeniedError(ServiceFault):
    """The caller is known, and may not; the message says who could allow it."""


class UnauthenticatedError(ServiceFault):
    """The caller is not known; the message says how to be, and nothing of what was sent."""


class FullError(ServiceFault):
    """There is no room, and calling again does not help; the message names the limit and what to remove."""


class FailedPreconditionError(ServiceFault):
    """The state of the world does not allow it now, and it is not for want of room; the message says what would."""


class ConflictError(ServiceFault):
    """It was changed since the caller read it; the message says what it is now."""


class RunningError(ServiceFault):
    """The same request is being handled at this moment; called again, it gets the answer."""


class ExhaustedError(ServiceFault):
    """The caller has as much as it may have; the message names the limit."""


class UnavailableError(ServiceFault):
    """Something that the service needs does not answer; the message says what."""


class DrainingError(ServiceFault):
    """This replica is going away; another answers."""


# A class's code, and its reason in google.rpc.ErrorInfo.
_TABLE: Mapping[type[ServiceFault], tuple[int, str]] = MappingProxyType(
    {
        NotFoundError: (code_pb2.NOT_FOUND, "NOT_FOUND"),
        InvalidArgumentError: (code_pb2.INVALID_ARGUMENT, "FIELD_INVALID"),
        PermissionDeniedError: (code_pb2.PERMISSION_DENIED, "CALLER_NOT_ADMITTED"),
        UnauthenticatedError: (code_pb2.UNAUTHENTICATED, "CALLER_UNKNOWN"),
        FullError: (code_pb2.FAILED_PRECONDITION, "NO_ROOM"),
        FailedPreconditionError: (code_pb2.FAILED_PRECONDITION, "STATE_NOT_ALLOWED"),
        ConflictError: (code_pb2.ABORTED, "VERSION_CONFLICT"),
        RunningError: (code_pb2.ABORTED, "REQUEST_RUNNING"),
        ExhaustedError: (code_pb2.RESOURCE_EXHAUSTED, "LIMIT_REACHED"),
        UnavailableError: (code_pb2.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        DrainingError: (code_pb2.UNAVAILABLE, "GOING_AWAY"),
    }
)


def status_of(error: BaseException) -> Status:
    """The status for the caller. Of an error that is not ours it says nothing but INTERNAL."""
    row = _TABLE.get(type(error)) if isinstance(error, ServiceFault) else None
    if row is None or not isinstance(error, ServiceFault):
        return status(code_pb2.INTERNAL, INTERNAL_MESSAGE, "INTERNAL")
    code, reason = row
    return status(code, str(error), reason, field=error.field)


def status(
    code: int,
    message: str,
    reason: str,
    *,
    field: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Status:
    """A status with its ErrorInfo, and a BadRequest for a field that is wrong. `code` is a google.rpc.Code."""
    made = Status(code=code, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {})
    made.details.add().Pack(info)
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        made.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return made


def reason_of(found: Status) -> str:
    """The reason in a status's ErrorInfo; empty where it has none of ours."""
    info = error_details_pb2.ErrorInfo()
    for each in found.details:
        if each.Is(info.DESCRIPTOR) and each.Unpack(info) and info.domain == DOMAIN:
            return str(info.reason)
    return ""
