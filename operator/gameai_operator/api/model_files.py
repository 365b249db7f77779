"""PURE: the model of a tier: its source and the storage of its files."""

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
    """Repository name. Example: Qwen/Qwen2.5-3B-Instruct-AWQ."""
    revision: Text | None = None
    """Commit, tag or branch; pin a commit in production. Absent: the hub's default branch. Example: main."""
    endpoint: (
        Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://[^\s/]+(/\S*)?$")]
        | None
    ) = None
    """URL of a mirror of the hub. For a mirror in the cluster use the container port, unless that port is named http or https. Absent: the public hub. Example: https://hub.example.com."""
    token_secret_ref: SecretKey | None = None
    """Secret key with the token for gated models. Absent: no token. Example: {name: hf, key: token}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.endpoint) || (isURL(self.endpoint) && (url(self.endpoint).getPort() == '' || "
            "(url(self.endpoint).getPort().size() <= 5 && int(url(self.endpoint).getPort()) <= 65535)))",
            "endpoint must be a URL; its port must be at most 65535",
            ".endpoint",
        ),
        Rule(
            r"!has(self.endpoint) || !self.endpoint.matches('(?i)^https?://([^/]*@)?(169[.]254[.]|168[.]63[.]129[.]16|"
            r"metadata[.]google[.]internal|[[](fe8|fd00:ec2:|fd20:ce:))')",
            "endpoint must not be an address of the instance metadata service",
            ".endpoint",
            "FieldValueForbidden",
        ),
    )


class ClaimSource(Model):
    """Existing model files on a volume, mounted read-only. Nothing is downloaded."""

    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace. Example: models."""
    path: Annotated[str, StringConstraints(max_length=253, pattern=r"^[\w.-]+(/[\w.-]+)*$")]
    """Relative path of the directory on the volume. Example: qwen2.5-3b-awq."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.split('/').exists(part, part == '..' || part == '.')",
            "path must not contain '.' or '..'",
            ".path",
        ),
    )


class ModelSource(Model):
    """Source of the model files; exactly one must be set."""

    hugging_face: HuggingFace | None = None
    """A repository of a Hugging Face hub, downloaded into the cache."""
    persistent_volume_claim: ClaimSource | None = None
    """Existing files on a volume. Nothing is downloaded."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.huggingFace) != has(self.persistentVolumeClaim)",
            "exactly one of huggingFace, persistentVolumeClaim must be set",
        ),
    )


class EmptyDirectory(Model):
    """Node-local storage that is deleted with the pod."""

    size_limit: Quantity = "40Gi"
    """Maximum size. Must hold the model twice during the download. Example: 40Gi."""


class ClaimCache(Model):
    """A volume that outlives the pod and can be shared."""

    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace. Use ReadWriteMany for more than one node. Example: model-cache."""


class HostPath(Model):
    """A directory of the node."""

    path: Annotated[str, StringConstraints(max_length=253, pattern=r"^/[\w.-]+(/[\w.-]+)*$")]
    """Absolute path. Since pod template revision 4 the files are stored in a subdirectory named after the namespace. Example: /mnt/models."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.split('/').exists(part, part == '..' || part == '.')",
            "hostPath.path must not contain '.' or '..'",
            ".path",
        ),
    )


class Cache(Model):
    """Storage of downloaded model files; exactly one must be set."""

    empty_dir: EmptyDirectory | None = None
    """Node-local storage that is deleted with the pod."""
    persistent_volume_claim: ClaimCache | None = None
    """A volume that outlives the pod, so that later starts need no download."""
    host_path: HostPath | None = None
    """A directory of the node that outlives the pod. Must be below a path in policy.allowedHostPaths of the chart. Not allowed by the restricted Pod Security standard."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.emptyDir), has(self.persistentVolumeClaim), has(self.hostPath)].filter(set, set).size() == 1",
            "exactly one of emptyDir, persistentVolumeClaim, hostPath must be set",
        ),
    )


class ModelFiles(Model):
    """The model and its files."""

    source: ModelSource
    """Source of the model files: exactly one of huggingFace, persistentVolumeClaim."""
    quantization: (
        Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9_-]+$")] | None
    ) = None
    """Quantization method of vLLM. Absent: as in the checkpoint. Example: awq_marlin."""
    max_context_tokens: Annotated[int, Field(ge=256, le=1_048_576)] | None = None
    """Maximum length of prompt plus completion, in tokens. A lower value needs less GPU memory. Absent: the maximum of the model. Example: 4096."""
    cache: Cache | None = None
    """Storage of downloaded files: exactly one of emptyDir, persistentVolumeClaim, hostPath. Absent: {emptyDir: {sizeLimit: 40Gi}}."""

    @property
    def effective_cache(self) -> Cache:
        """The cache with its default, which the schema leaves out: a default inside would join what a user sets later."""
        return self.cache or Cache(empty_dir=EmptyDirectory())
