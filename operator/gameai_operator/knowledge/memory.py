"""PURE: the pods of the memory: those that answer searches, and those of Jobs that migrate, ingest and remove."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gameai_contract.archives import ARCHIVES_FOLDER
from gameai_contract.knowledge import (
    ADMISSION_KEY,
    REPORT_FILE,
    SOURCE_FOLDER,
    Admission,
    MemoryCaller,
    TokenKeys,
)
from gameai_contract.names import (
    ARCHIVES_LABEL,
    CONFIG_FOLDER,
    EMBEDDING_DIMENSIONS_ENVIRONMENT,
    EMBEDDING_KEY_ENVIRONMENT,
    EMBEDDING_MODEL_ENVIRONMENT,
    EMBEDDING_REQUEST_DIMENSIONS_ENVIRONMENT,
    EMBEDDING_URL_ENVIRONMENT,
    GRPC_PORT,
    HEALTH_PORT,
    PART_LABEL,
)

from gameai_operator.api.backups import Backup, Repository, Restore
from gameai_operator.api.database import DatabaseTls
from gameai_operator.api.knowledge_base import KnowledgeBase, Source
from gameai_operator.controller.manifest import Document, Key, digest, without_empty
from gameai_operator.knowledge import naming, pods
from gameai_operator.knowledge.naming import MEMORY, MEMORY_PART, ROLE
from gameai_operator.resources import database, job
from gameai_operator.resources.config_map import config_map
from gameai_operator.resources.deployment import Strategy, annotations, build
from gameai_operator.resources.pod_template import spread
from gameai_operator.resources.secret import PASSWORD_KEY
from gameai_operator.resources.template_inputs import Inputs

# The user of our own image.
USER = 65532
_PROGRESS_SECONDS = 600
_MIGRATE = "migrate"
# Programs that compute vectors; the others need no key for them. A migration asks a service how long they are.
_EMBED = (_MIGRATE, "serve", "ingest", "restore")
_MODULE = ("python", "-m", "gameai.knowledge")


def deployment(kb: KnowledgeBase, inputs: Inputs) -> Document:
    """The Deployment of the pods that answer searches, without its number of replicas."""
    own = naming.own_labels(kb, MEMORY, MEMORY_PART)
    given = kb.spec.service
    command = (
        *(*_MODULE, "serve", "--address=", f"--connections={given.connections}"),
        f"--admission-file={CONFIG_FOLDER}/{ADMISSION_KEY}",
    )
    base = _container(kb, command, inputs)
    # The folder, not the file: a file mounted alone is never updated.
    mount = {"name": "admission", "mountPath": CONFIG_FOLDER, "readOnly": True}
    volume = {"name": "admission", "configMap": {"name": naming.memory_name(kb)}}
    container = {
        **base,
        "volumeMounts": [*base["volumeMounts"], mount],
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        **_probes(),
    }
    made = _template(kb, own, container, inputs, [volume])
    made["spec"]["topologySpreadConstraints"] = spread(naming.selector(kb, MEMORY_PART))
    about = naming.about(kb, naming.memory_name(kb), MEMORY, MEMORY_PART)
    about = {**about, "annotations": annotations(made, inputs.text())}
    strategy = Strategy(surge=1, unavailable=0, deadline_seconds=_PROGRESS_SECONDS)
    return build(about, naming.selector(kb, MEMORY_PART), made, strategy)


def admission(kb: KnowledgeBase, tokens: TokenKeys) -> Document:
    """The ConfigMap that says who may call."""
    callers = [
        MemoryCaller(
            account=f"{each.namespace}/{each.service_account}",
            worlds=each.worlds,
            writes=each.writes,
            reviews=each.reviews,
        )
        for each in kb.spec.callers
    ]
    made = Admission(namespace=kb.metadata.namespace, tokens=tokens, callers=callers)
    about = naming.about(kb, naming.memory_name(kb), MEMORY)
    return config_map(about, {ADMISSION_KEY: made.text()})


def migration(kb: KnowledgeBase, inputs: Inputs, wanted: str) -> Document:
    """The Job that brings the schema to this release; `wanted` is the digest of what that depends on."""
    # A volume is of one knowledge base alone. What else is in a database of the user's own is the user's.
    report = (f"--report={REPORT_FILE}",) if kb.spec.database.managed else ()
    command = (*_MODULE, "migrate", _owner(kb), *report)
    return _job(kb, _MIGRATE, command, inputs, wanted)


def is_migration(kb: KnowledgeBase, key: Key) -> bool:
    """Whether this is a Job that migrates."""
    return key.kind == "Job" and key.name.startswith(f"{kb.metadata.name}-{_MIGRATE}-")


def ingestion(kb: KnowledgeBase, source: Source, inputs: Inputs, wanted: Sequence[str]) -> Document:
    """The Job that ingests a source; `wanted` are the digest of what is asked for, and when it was decided on."""
    world = f",world={source.world}" if source.world else ""
    given = f"--source={source.name}={SOURCE_FOLDER}{world},trust={source.trust}"
    command = (*_MODULE, "ingest", given, f"--report={REPORT_FILE}")
    return _job(kb, "ingest", command, inputs, *wanted, documents=source.config_map.name)


def removal(kb: KnowledgeBase, name: str, world: str, inputs: Inputs, started: str) -> Document:
    """The Job that removes the documents of a source; `started` is when it was decided on."""
    given = f"--source={name}{f',world={world}' if world else ''}"
    return _job(kb, "remove", (*_MODULE, "remove", given), inputs, started)


def backup(kb: KnowledgeBase, given: Backup, inputs: Inputs, slot: str) -> Document:
    """The Job that makes the archive of a slot."""
    name = slot.replace("-", "").replace(":", "")
    command = ("backup", _owner(kb), f"--slot={name}", f"--keep={given.keep}")
    return _archive_job(kb, command, given.repository, inputs)


def restoration(
    kb: KnowledgeBase, given: Restore, inputs: Inputs, once: str, wanted: str
) -> Document:
    """The Job that adds what an archive holds; `once` is the name by which the database remembers it, `wanted` what it depends on."""
    owner = f"--owner={given.knowledge_base}" if given.knowledge_base else _owner(kb)
    archive = (f"--archive={given.archive}",) if given.archive else ()
    command = ("restore", owner, *archive, f"--once={once}")
    return _archive_job(kb, command, given.repository, inputs, wanted)


def _owner(kb: KnowledgeBase) -> str:
    return f"--owner={kb.metadata.namespace}/{kb.metadata.name}"


def _archive_job(
    kb: KnowledgeBase,
    command: Sequence[str],
    repository: Repository,
    inputs: Inputs,
    *wanted: str,
) -> Document:
    place, environment, volume = _repository(repository)
    whole = (*_MODULE, *command, f"--repository={place}", f"--report={REPORT_FILE}")
    container = _container(kb, whole, inputs)
    container["env"] = [*container["env"], *environment]
    if volume:
        # A restore only reads.
        read_only = {"readOnly": True} if command[0] == "restore" else {}
        mount = {"name": "archives", "mountPath": ARCHIVES_FOLDER, **read_only}
        container["volumeMounts"] = [*container["volumeMounts"], mount]
    labels = {ARCHIVES_LABEL: "true"}
    return _job_of(kb, command[0], container, inputs, wanted, volume, labels)


def _repository(repository: Repository) -> tuple[str, list[Document], list[Document]]:
    """The place of the archives as the memory's program takes it, its variables, and the pod's volume."""
    if repository.persistent_volume_claim is not None:
        claim = {"claimName": repository.persistent_volume_claim.claim_name}
        return ARCHIVES_FOLDER, [], [{"name": "archives", "persistentVolumeClaim": claim}]
    given = repository.s3
    assert given is not None  # noqa: S101 - the schema asks for exactly one
    environment: list[Document] = [{"name": "AWS_REGION", "value": given.region}]
    if given.endpoint:
        environment.append({"name": "AWS_ENDPOINT_URL_S3", "value": given.endpoint})
    if secret := given.secret_ref:
        keys = {
            "AWS_ACCESS_KEY_ID": secret.access_key_id_key,
            "AWS_SECRET_ACCESS_KEY": secret.secret_access_key_key,
        }
        environment += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
            for name, key in keys.items()
        ]
    prefix = f"/{given.prefix}" if given.prefix else ""
    return f"s3://{given.bucket}{prefix}", environment, []


def _job(
    kb: KnowledgeBase,
    verb: str,
    command: Sequence[str],
    inputs: Inputs,
    *wanted: str,
    documents: str = "",
) -> Document:
    container = _container(kb, command, inputs)
    volumes: list[Document] = []
    if documents:
        mount = {"name": "source", "mountPath": SOURCE_FOLDER, "readOnly": True}
        container["volumeMounts"] = [*container["volumeMounts"], mount]
        volumes = [{"name": "source", "configMap": {"name": documents}}]
    return _job_of(kb, verb, container, inputs, wanted, volumes)


def _job_of(
    kb: KnowledgeBase,
    verb: str,
    container: Document,
    inputs: Inputs,
    wanted: Sequence[str],
    volumes: Sequence[Document],
    more_labels: Mapping[str, str] = MappingProxyType({}),
) -> Document:
    """A Job with a name of its own for everything that it is made of: its template cannot change."""
    labels = {**naming.own_labels(kb, MEMORY, "job"), **more_labels}
    unnamed = _template(kb, labels, container, inputs, volumes)
    name = f"{kb.metadata.name}-{verb}-{digest([unnamed, *wanted])[:10]}"
    labels = {**unnamed["metadata"]["labels"], PART_LABEL: name}
    made = {**unnamed, "metadata": {"labels": labels}}
    notes = annotations(made, inputs.text())
    return job.build({**naming.about(kb, name, MEMORY, name), "annotations": notes}, made)


def _template(
    kb: KnowledgeBase,
    labels: Mapping[str, str],
    container: Document,
    inputs: Inputs,
    volumes: Sequence[Document] = (),
) -> Document:
    tmp, _ = _tmp()
    made: Document = without_empty(
        pods.template(
            labels,
            container,
            [tmp, *database.volumes(_tls(kb)), *volumes],
            inputs,
            account=naming.memory_name(kb),
            user=USER,
        )
    )
    return made


def _container(kb: KnowledgeBase, command: Sequence[str], inputs: Inputs) -> Document:
    _, tmp = _tmp()
    return {
        "name": MEMORY,
        "image": inputs.image,
        "command": list(command),
        "env": [*_environment(kb), *_embedding(kb, keyed=command[len(_MODULE)] in _EMBED)],
        "resources": pods.resources(kb.spec.service.cpu, kb.spec.service.memory),
        "volumeMounts": [tmp, *database.mounts(_tls(kb))],
    }


def _tmp() -> tuple[Document, Document]:
    return pods.scratch("tmp", "/tmp", "64Mi")  # noqa: S108 - a path inside the pod


def _tls(kb: KnowledgeBase) -> DatabaseTls | None:
    external = kb.spec.database.external
    return external.tls if external else None


def _environment(kb: KnowledgeBase) -> list[Document]:
    external = kb.spec.database.external
    if external is None:
        user: Document = {"value": ROLE}
        password = database.from_secret(naming.database_name(kb), PASSWORD_KEY)
    else:
        secret = external.secret_ref
        user = database.from_secret(secret.name, secret.username_key)
        password = database.from_secret(secret.name, secret.password_key)
    address = database.url(*naming.database_place(kb), _tls(kb))
    return database.environment(address, user, password)


def _embedding(kb: KnowledgeBase, *, keyed: bool) -> list[Document]:
    """The embedding service; its key stands in no template."""
    if kb.spec.embedding is None:
        return []
    given = kb.spec.embedding.open_ai
    found: list[Document] = [
        {"name": EMBEDDING_URL_ENVIRONMENT, "value": given.url},
        {"name": EMBEDDING_MODEL_ENVIRONMENT, "value": given.model},
        {"name": EMBEDDING_DIMENSIONS_ENVIRONMENT, "value": str(given.dimensions)},
    ]
    if given.request_dimensions:
        found.append({"name": EMBEDDING_REQUEST_DIMENSIONS_ENVIRONMENT, "value": "true"})
    if given.secret_ref is not None and keyed:
        reference = {"name": given.secret_ref.name, "key": given.secret_ref.key}
        key = {"secretKeyRef": reference}
        found.append({"name": EMBEDDING_KEY_ENVIRONMENT, "valueFrom": key})
    return found


def _probes() -> Document:
    ready = {"httpGet": {"path": "/readyz", "port": "health", "scheme": "HTTP"}}
    live = {"httpGet": {"path": "/livez", "port": "health", "scheme": "HTTP"}}
    every = {"periodSeconds": 5, "timeoutSeconds": 3}
    return {
        # A database that is away makes no pod start again.
        "startupProbe": {**live, **every, "failureThreshold": 60},
        "readinessProbe": {**ready, **every, "failureThreshold": 2},
        "livenessProbe": {**live, **every, "failureThreshold": 6},
    }
