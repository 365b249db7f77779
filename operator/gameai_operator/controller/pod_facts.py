"""PURE: what decisions know of a pod. How it is read is the affair of `resources.pod`."""

from dataclasses import dataclass

_PULL_FAULTS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
_CONFIG_FAULTS = frozenset({"CreateContainerConfigError", "CreateContainerError"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """A pod's state; `waiting` is the main container's own reason and the kubelet's words.

    `force_delete` says that it is terminating and that its present process never was ready. `dead` is why it ended for good:
    an evicted or refused pod stays as an object, and says nothing about those that took its place. `gates` keep it from
    being scheduled, `unready` from being ready though its containers are, and `unready_sidecar` from being ready though its main container is; `side_fault` is what is wrong with
    another container than the main one: an init container, or a sidecar. `placed` means that it has a node, and so a
    price, which is `node`. `grace_seconds` is the grace period of its spec. `address` is its IP address, and `has_agent` says that a tier agent runs in it. `running` is its main container, and
    `said` the message with which that ended in success.
    """

    namespace: str
    name: str
    uid: str
    group: str
    ready: bool
    terminating: bool
    force_delete: bool
    unschedulable: str = ""
    unschedulable_since: str = ""
    waiting: tuple[str, str] = ("", "")
    crash: str = ""
    dead: str = ""
    gates: str = ""
    unready: str = ""
    unready_sidecar: str = ""
    side_fault: str = ""
    placed: bool = False
    node: str = ""
    grace_seconds: int = 30
    address: str = ""
    has_agent: bool = False
    running: bool = False
    said: str = ""

    def at(self, port: int) -> str:
        """`host:port` of a server in it."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"

    @property
    def starting(self) -> bool:
        """Whether its main container runs, and nothing is known to keep it from being ready at any moment.

        The start-up probe limits how long: then the container is restarted, which is a fault.
        """
        over = self.ready or self.terminating or self.dead
        fault = self.crash or self.side_fault or self.unready or self.unready_sidecar
        return self.running and not over and not fault

    @property
    def pull_fault(self) -> str:
        """The kubelet's words where the image cannot be pulled."""
        return pull_fault(*self.waiting)

    @property
    def config_fault(self) -> str:
        """The kubelet's words where the container cannot be made: a missing Secret, key or ConfigMap."""
        return config_fault(*self.waiting)


def pull_fault(reason: str, message: str) -> str:
    """The kubelet's message where an image cannot be pulled; else empty."""
    return message or reason if reason in _PULL_FAULTS else ""


def config_fault(reason: str, message: str) -> str:
    """The kubelet's message where a container cannot be created; else empty."""
    return message or reason if reason in _CONFIG_FAULTS else ""
