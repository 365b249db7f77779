"""PURE: a database that the operator runs: one PostgreSQL pod with one volume."""

from gameai_contract.names import POSTGRES_PORT

from gameai_operator.api.database import DEFAULT_IMAGE, DeletionPolicy, ManagedDatabase
from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.controller.manifest import Document, without_empty
from gameai_operator.controller.plan import Creation
from gameai_operator.knowledge import naming, pods
from gameai_operator.knowledge.naming import DATABASE, DATABASE_NAME, DATABASE_PART, ROLE
from gameai_operator.resources import quantity, stateful_set
from gameai_operator.resources.deployment import annotations
from gameai_operator.resources.secret import PASSWORD_KEY, password
from gameai_operator.resources.service import headless
from gameai_operator.resources.template_inputs import Inputs

# The user `postgres` of the official images.
USER = 999
# A checkpoint of a large shared_buffers takes its time.
_GRACE_SECONDS = 120
_HOME = "/var/lib/postgresql"
_DATA = f"{_HOME}/memory"
_SOCKETS = "/var/run/postgresql"
# Shares of the pod's memory, after the sizing rule of docs/knowledge.md.
_BUFFERS, _CACHE, _MAINTENANCE = 0.25, 0.7, 0.15
_MOST_MAINTENANCE_MIB = 2048
_MIB = 1 << 20

# A first start is killed at any point and begins again: the data get their name only when they are complete. The role,
# its password, the database and the extension are set at each start, while no client can connect.
_START = r"""
umask 077
trap 'exit 143' TERM
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  rm -rf "$PGDATA.new"
  initdb --pgdata="$PGDATA.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256 --data-checksums
  mv "$PGDATA.new" "$PGDATA"
fi
chmod 0700 "$PGDATA"
printf 'local all postgres trust\nhost %s %s all scram-sha-256\n' "$GAMEAI_DATABASE_NAME" "$GAMEAI_DATABASE_ROLE" > "$PGDATA/pg_hba.conf"
pg_ctl --pgdata="$PGDATA" --silent --wait --timeout=3600 --log=/tmp/start.log \
  --options="-c listen_addresses= -c unix_socket_directories=$PGHOST" start || { tail -n 5 /tmp/start.log >&2; exit 1; }
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
  --set=role="$GAMEAI_DATABASE_ROLE" --set=database="$GAMEAI_DATABASE_NAME" <<'SQL'
\getenv password GAMEAI_DATABASE_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :database
CREATE EXTENSION IF NOT EXISTS vector;
ALTER EXTENSION vector UPDATE;
SQL
pg_ctl --pgdata="$PGDATA" --silent --wait --timeout=3600 --mode=fast stop
exec postgres -D "$PGDATA" "$@"
"""


def objects(kb: KnowledgeBase, given: ManagedDatabase, inputs: Inputs) -> tuple[Document, ...]:
    """The Service and the StatefulSet."""
    service = headless(
        naming.about(kb, naming.database_name(kb), DATABASE),
        naming.selector(kb, DATABASE_PART),
        port_name="postgres",
        port=POSTGRES_PORT,
    )
    return service, _stateful_set(kb, given, inputs)


def secret(kb: KnowledgeBase) -> Creation:
    """The Secret with the password. It stays when the knowledge base goes, as the volume does."""
    return password(naming.about(kb, naming.database_name(kb), DATABASE))


def _stateful_set(kb: KnowledgeBase, given: ManagedDatabase, inputs: Inputs) -> Document:
    own = naming.own_labels(kb, DATABASE, DATABASE_PART)
    volumes, mounts = _volumes(given)
    made = without_empty(
        pods.template(
            own,
            _container(kb, given, mounts, inputs),
            volumes,
            inputs,
            account=naming.memory_name(kb),
            user=USER,
            grace_seconds=_GRACE_SECONDS,
        )
    )
    about = naming.about(kb, naming.database_name(kb), DATABASE, DATABASE_PART)
    about = {**about, "annotations": annotations(made, inputs.text())}
    claim = stateful_set.Claim(
        size=given.storage,
        storage_class=given.storage_class_name,
        deleted=given.deletion_policy is DeletionPolicy.DELETE,
    )
    return stateful_set.build(about, naming.selector(kb, DATABASE_PART), made, claim)


def _password(kb: KnowledgeBase) -> Document:
    """As a variable, as the memory gets it: both then have the same bytes."""
    return {"name": naming.database_name(kb), "key": PASSWORD_KEY}


def _container(
    kb: KnowledgeBase, given: ManagedDatabase, mounts: list[Document], inputs: Inputs
) -> Document:
    ours = given.image == DEFAULT_IMAGE and inputs.pods.registry
    stop = ["pg_ctl", f"--pgdata={_DATA}", "--mode=fast", "--no-wait", "stop"]
    return {
        "name": DATABASE,
        "image": f"{inputs.pods.registry}/{given.image}" if ours else given.image,
        "command": ["/bin/sh", "-euc", _START, "postgres"],
        "args": [f"-c{name}={value}" for name, value in _settings(given).items()],
        "env": [
            {"name": "PGDATA", "value": _DATA},
            {"name": "PGHOST", "value": _SOCKETS},
            {"name": "GAMEAI_DATABASE_ROLE", "value": ROLE},
            {"name": "GAMEAI_DATABASE_NAME", "value": DATABASE_NAME},
            {"name": "GAMEAI_DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": _password(kb)}},
        ],
        "ports": [{"name": "postgres", "containerPort": POSTGRES_PORT, "protocol": "TCP"}],
        "resources": pods.resources(given.cpu, given.memory),
        # After a crash it reads its log again, which may take long; clients cannot connect before that.
        "startupProbe": _probe(seconds=5, failures=360),
        "readinessProbe": _probe(seconds=5, failures=2),
        "livenessProbe": _probe(seconds=10, failures=6),
        # SIGTERM would wait for its clients to leave.
        "lifecycle": {"preStop": {"exec": {"command": stop}}},
        "volumeMounts": mounts,
    }


def _probe(*, seconds: int, failures: int) -> Document:
    """Whether it takes connections of clients."""
    return {
        "exec": {
            "command": [
                *("pg_isready", "--quiet", "--host=127.0.0.1"),
                # Others than this role are refused, and each refusal is logged.
                *(f"--username={ROLE}", f"--dbname={DATABASE_NAME}"),
            ]
        },
        "periodSeconds": seconds,
        "timeoutSeconds": seconds,
        "failureThreshold": failures,
    }


def _settings(given: ManagedDatabase) -> dict[str, str]:
    memory = quantity.number(given.memory) / _MIB
    return {
        "listen_addresses": "*",
        "unix_socket_directories": _SOCKETS,
        "shared_buffers": f"{int(memory * _BUFFERS)}MB",
        "effective_cache_size": f"{int(memory * _CACHE)}MB",
        "maintenance_work_mem": f"{_maintenance_mib(given)}MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "shared_preload_libraries": "pg_prewarm",
        "password_encryption": "scram-sha-256",
        "max_connections": "100",
    }


def _maintenance_mib(given: ManagedDatabase) -> int:
    memory = quantity.number(given.memory) / _MIB
    return min(_MOST_MAINTENANCE_MIB, int(memory * _MAINTENANCE))


def _volumes(given: ManagedDatabase) -> tuple[list[Document], list[Document]]:
    """The data's volume is of the StatefulSet. The parallel build of an index allocates in /dev/shm."""
    shared = f"{_maintenance_mib(given) + 64}Mi"
    folders = [
        pods.scratch("tmp", "/tmp", "64Mi"),  # noqa: S108 - a path inside the pod
        pods.scratch("sockets", _SOCKETS, "1Mi"),
    ]
    volumes = [volume for volume, _ in folders]
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared}})
    mounts = [mount for _, mount in folders]
    mounts += [
        {"name": stateful_set.VOLUME, "mountPath": _HOME},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - same
    ]
    return volumes, mounts
