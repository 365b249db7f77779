"""PURE: what names an embedding service: the operator checks it in manifests, the memory in its flags."""

import re

from gameai_contract.names import PORT_PATTERN

# Vectors stand in the rows of tables, which have 8 KiB, two bytes for each dimension.
MOST_DIMENSIONS = 2000
MOST_MODEL_CHARACTERS = 128
MODEL_PATTERN = "[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?"
_LABEL = "[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
URL_PATTERN = f"https?://{_LABEL}([.]{_LABEL})*(:{PORT_PATTERN})?(/[A-Za-z0-9._~-]+)*"
# The host of a Service: its name, or with namespace and svc, and the usual domain of a cluster or none.
SERVICE_PATTERN = "[a-z][a-z0-9-]*([.][a-z0-9-]+[.]svc([.]cluster[.]local)?)?"
_NEAR = f"localhost|127[.][0-9.]+|{SERVICE_PATTERN}"
_PRIVATE = re.compile(f"https://.*|http://({_NEAR})(:[0-9]+)?(/.*)?")
_MODEL, _URL = re.compile(MODEL_PATTERN), re.compile(URL_PATTERN)


def is_url(text: str) -> bool:
    """Whether this is the URL of an API: without credentials, query or a slash at its end."""
    return _URL.fullmatch(text) is not None


def keeps_key(url: str) -> bool:
    """Whether a key may be sent there: encrypted, or within a machine or a cluster."""
    return _PRIVATE.fullmatch(url) is not None


def is_model(text: str) -> bool:
    """Whether this is the name of a model."""
    return len(text) <= MOST_MODEL_CHARACTERS and _MODEL.fullmatch(text) is not None
