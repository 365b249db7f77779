"""PURE: what a tier serves: where the model comes from and where its files are kept."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import Model, ObjectName, Quantity, Rule, Text


class SecretKey(Model):
    """A key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret. Example: hf."""
    key: Text
    """Key in the Secret. Example: token."""


class HuggingFace(Model):
    """A repository of a Hugging Face hub."""

    repository: Annotated[
        str, StringConstraints(max_length=253, pattern=r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")
    ]
    """Repository. Example: Qwen/Qwen2.5-3B-Instruct-AWQ."""
    revision: Text | None = None
    """Commit, tag or branch; pin a commit in production. Absent: the hub's default branch. Example: main."""
    endpoint: (
        Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://[^\s/]+(/\S*)?$")]
        | None
    ) = None
    """URL of a mirror of the hub; in the cluster with the port that its pods listen on, unless they call it http or https. Absent: the public hub. Example: https://hub.example.com."""
    token_secret_ref: SecretKey | None = None
    """Where the token for gated models is kept. Absent: no token. Example: {name: hf, key: token}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.endpoint) || (isURL(self.endpoint) && (url(self.endpoint).getPort() == '' || "
            "(url(self.endpoint).getPort().size() <= 5 && int(url(self.endpoint).getPort()) <= 65535)))",
            "endpoint must be a URL whose port, if it has one, is at most 65535",
            ".endpoint",
        ),
        Rule(
            r"!has(self.endpoint) || !self.endpoint.matches('(?i)^https?://([^/]*@)?(169[.]254[.]|168[.]63[.]129[.]16|"
            r"metadata[.]google[.]internal|[[](fe8|fd00:ec2:|fd20:ce:))')",
            "endpoint must not be an address of instance metadata: name the hub by its own address",
            ".endpoint",
            "FieldValueForbidden",
        ),
    )


class ClaimSource(Model):
    """Model files that are on a volume already; mounted read-only, nothing is downloaded."""

    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace. Example: models."""
    path: Annotated[str, StringConstraints(max_length=253, pattern=r"^[\w.-]+(/[\w.-]+)*$")]
    """Folder on the volume, relative. Example: qwen2.5-3b-awq."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.split('/').exists(part, part == '..' || part == '.')",
            "path must stay on the volume: leave out '.' and '..'",
            ".path",
        ),
    )


class ModelSource(Model):
    """Where the model comes from; exactly one."""

    hugging_face: HuggingFace | None = None
    """A repository of a Hugging Face hub, downloaded into the cache."""
    persistent_volume_claim: ClaimSource | None = None
    """Files that are on a volume already; nothing is downloaded."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.huggingFace) != has(self.persistentVolumeClaim)",
            "exactly one of huggingFace, persistentVolumeClaim must be set",
        ),
    )


class EmptyDirectory(Model):
    """Space on the node that goes with the pod."""

    size_limit: Quantity = "40Gi"
    """Most bytes kept; must hold the model twice while it is downloaded. Example: 40Gi."""


class ClaimCache(Model):
    """A volume that outlives the pod and may serve several."""

    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace; ReadWriteMany for more than one node. Example: model-cache."""


class HostPath(Model):
    """A folder of the node."""

    path: Annotated[str, StringConstraints(max_length=253, pattern=r"^/[\w.-]+(/[\w.-]+)*$")]
    """Absolute path; from pod template revision 4 on the files are in a folder of it that is named after the namespace. Example: /mnt/models."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.split('/').exists(part, part == '..' || part == '.')",
            "path must not hold '.' or '..': write the folder out",
            ".path",
        ),
    )


class Cache(Model):
    """Where downloaded model files are kept; exactly one."""

    empty_dir: EmptyDirectory | None = None
    """Space on the node that goes with the pod."""
    persistent_volume_claim: ClaimCache | None = None
    """A volume that outlives the pod: the second start needs no download."""
    host_path: HostPath | None = None
    """A folder of the node that outlives the pod; only below a path that the operator's chart allows (policy.allowedHostPaths), and never under restricted Pod Security."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.emptyDir), has(self.persistentVolumeClaim), has(self.hostPath)].filter(set, set).size() == 1",
            "exactly one of emptyDir, persistentVolumeClaim, hostPath must be set",
        ),
    )


class ModelFiles(Model):
    """What is served."""

    source: ModelSource
    """Where the model comes from; exactly one of huggingFace, persistentVolumeClaim."""
    quantization: (
        Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9_-]+$")] | None
    ) = None
    """vLLM's quantization method. Absent: what the checkpoint says. Example: awq_marlin."""
    max_context_tokens: Annotated[int, Field(ge=256, le=1_048_576)] | None = None
    """Longest prompt plus answer, in tokens; less needs less GPU memory. Absent: what the model allows. Example: 4096."""
    cache: Cache | None = None
    """Where downloaded files are kept; exactly one of emptyDir, persistentVolumeClaim, hostPath. Absent: {emptyDir: {sizeLimit: 40Gi}}."""

    @property
    def effective_cache(self) -> Cache:
        """The cache with its default, which the schema leaves out: a default inside would join what a user sets later."""
        return self.cache or Cache(empty_dir=EmptyDirectory())
