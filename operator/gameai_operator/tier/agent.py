"""PURE: the sidecar of an engine, and the preStop hook by which it drains the engine.

A native sidecar starts before the engine and ends after it, so that it is there for the whole drain.
"""

from gameai_contract.inference import slots
from gameai_contract.names import AGENT_CONTAINER, AGENT_PORT, POD_ENVIRONMENT, VLLM_PORT
from gameai_contract.tier_agent import DRAIN_PATH

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.manifest import Document, digest
from gameai_operator.resources.pod_template import RESTRICTED

RESOURCES: Document = {
    "requests": {"cpu": "20m", "memory": "128Mi"},
    "limits": {"memory": "128Mi"},
}
_PORT = "agent"
# Exit codes of the hook's question.
_LOADS, _NO_AGENT, _LATE = 7, 8, 9
_ALIVE_SECONDS = 2


def engine_hash(container: Document) -> str:
    """A short hash of what decides how fast an engine is: its image, arguments, environment and resources."""
    return digest([container[key] for key in ("image", "args", "env", "resources")])[:10]


def sidecar(tier: ModelTier, image: str, engine: Document, drain_seconds: int) -> Document:
    """The agent's container for the `engine` container."""
    return {
        "name": AGENT_CONTAINER,
        "image": image,
        "restartPolicy": "Always",
        "command": ["python", "-m", "gameai.tier_agent"],
        "args": [
            f"--model={tier.metadata.name}",
            f"--class={tier.spec.class_.value}",
            f"--slots={slots(engine['args'])}",
            f"--drain-seconds={drain_seconds}",
            f"--engine-hash={engine_hash(engine)}",
        ],
        "env": [
            {
                "name": POD_ENVIRONMENT,
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
            }
        ],
        "ports": [{"name": _PORT, "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": RESOURCES,
        # The agent looks at the engine every second. One that is starved of CPU has 5 s to say so.
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": _PORT, "scheme": "HTTP"},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 1,
        },
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": _PORT, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": dict(RESTRICTED),
    }


def pre_stop(drain_seconds: int, least_seconds: int) -> Document:
    """What comes before SIGTERM: of an engine that loads its end, of another one the drain by the agent.

    Refused connections mean that it loads. The server is process 1, which no signal of ours kills, but its engine's
    processes are not, and it ends without them. Without an agent, callers have `least_seconds` to go elsewhere.
    """
    asks = f"""\
python3 -c "
import http.client, socket, sys
try:
    socket.create_connection(('127.0.0.1', {VLLM_PORT}), 1).close()
except ConnectionRefusedError:
    sys.exit({_LOADS})
except OSError:
    pass
def ask(method, path, seconds):
    agent = http.client.HTTPConnection('127.0.0.1', {AGENT_PORT}, timeout=seconds)
    agent.request(method, path)
    return agent.getresponse().status == 200
try:
    alive = ask('GET', '/livez', {_ALIVE_SECONDS})
except (OSError, http.client.HTTPException):
    alive = False
if not alive:
    sys.exit({_NO_AGENT})
try:
    sys.exit(0 if ask('POST', '{DRAIN_PATH}', {drain_seconds + least_seconds}) else {_NO_AGENT})
except TimeoutError:
    sys.exit({_LATE})
except (OSError, http.client.HTTPException):
    sys.exit({_NO_AGENT})
"
case $? in
  0|{_LATE}) ;;
  {_LOADS}) while :; do kill -9 -1 2>/dev/null; sleep 1; done ;;
  *) sleep {least_seconds} ;;
esac
"""
    return {"exec": {"command": ["sh", "-c", asks]}}
