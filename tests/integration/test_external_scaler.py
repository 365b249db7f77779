"""The scaler as KEDA sees it: a real gRPC server, with and without TLS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from gameai_devcluster import certificates
from gameai_operator.keda import externalscaler_pb2 as wire
from gameai_operator.keda.externalscaler_pb2_grpc import ExternalScalerStub
from gameai_operator.keda.server import start
from gameai_operator.scaling.recommendations import Recommendation, Recommendations
from gameai_operator.settings import ScalerSettings, Settings

if TYPE_CHECKING:
    from gameai_operator.keda.externalscaler_pb2_grpc import ExternalScalerAsyncStub

NOW = 1000.0
GOLD = wire.ScaledObjectRef(name="gold", namespace="eldermoor", scalerMetadata={"tier": "other"})
ASKED = wire.GetMetricsRequest(scaledObjectRef=GOLD, metricName="replicas")


def known(replicas: int = 7, at: float = NOW) -> Recommendations:
    made = Recommendations()
    made.put("eldermoor", "gold", Recommendation(replicas=replicas, busy=replicas > 1, at=at))
    return made


@contextlib.asynccontextmanager
async def served(found: Recommendations, scaler: ScalerSettings) -> AsyncIterator[int]:
    settings = Settings(health_address="127.0.0.1", scaler=scaler)
    server, port = await start(settings, found, lambda: NOW)
    try:
        yield port
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def asking(found: Recommendations) -> "AsyncIterator[ExternalScalerAsyncStub]":
    async with (
        served(found, ScalerSettings(keda_port=0)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield ExternalScalerStub(channel)


async def test_a_tier_has_one_metric_whose_value_is_the_recommended_number() -> None:
    async with asking(known()) as keda:
        (spec,) = (await keda.GetMetricSpec(GOLD)).metricSpecs
        assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("replicas", 1, 1.0)
        (value,) = (await keda.GetMetrics(ASKED)).metricValues
        assert (value.metricName, value.metricValue, value.metricValueFloat) == ("replicas", 7, 7.0)
        assert (await keda.IsActive(GOLD)).result


@pytest.mark.parametrize(
    ("found", "name"),
    [(Recommendations(), "gold"), (known(at=NOW - 61), "gold"), (known(), "silver")],
    ids=["nothing decided yet", "a decision of another time", "another tier"],
)
async def test_what_is_not_known_is_refused_at_once(found: Recommendations, name: str) -> None:
    ref = wire.ScaledObjectRef(name=name, namespace="eldermoor")
    async with asking(found) as keda:
        for call in (
            keda.IsActive(ref),
            keda.GetMetrics(wire.GetMetricsRequest(scaledObjectRef=ref)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert f"eldermoor/{name}" in str(caught.value.details())


async def test_another_namespace_learns_nothing_of_a_tier() -> None:
    stranger = wire.ScaledObjectRef(
        name="gold", namespace="elsewhere", scalerMetadata={"namespace": "eldermoor"}
    )
    async with asking(known()) as keda:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await keda.IsActive(stranger)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_push_triggers_are_not_served() -> None:
    async with asking(known()) as keda:
        pushed = keda.StreamIsActive(GOLD)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(pushed))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_taken_port_is_an_error_that_names_the_flag() -> None:
    async with served(known(), ScalerSettings(keda_port=0)) as port:
        with pytest.raises(OSError, match=f"--keda-port: cannot listen on 127.0.0.1:{port}"):
            await start(
                Settings(health_address="127.0.0.1", scaler=ScalerSettings(keda_port=port)),
                known(),
                lambda: NOW,
            )


async def test_a_renewed_certificate_is_served_to_the_next_connection(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        await asyncio.to_thread(certificates.write, folder)
    scaler = ScalerSettings(
        keda_port=0,
        certificate_file=str(old / "server.crt"),
        key_file=str(old / "server.key"),
    )

    async def asked(authority: Path, port: int) -> int:
        trust = grpc.ssl_channel_credentials((authority / "ca.crt").read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{port}", trust) as channel:
            answer = await ExternalScalerStub(channel).GetMetrics(ASKED, timeout=10)
        return int(answer.metricValues[0].metricValue)

    async with served(known(), scaler) as port:
        authority = tmp_path / "authority"
        authority.mkdir()
        (authority / "ca.crt").write_bytes((old / "ca.crt").read_bytes())
        assert await asked(authority, port) == 7
        # A half-written pair keeps the former one.
        (old / "server.key").write_bytes((new / "server.key").read_bytes())
        assert await asked(authority, port) == 7
        (old / "server.crt").write_bytes((new / "server.crt").read_bytes())
        assert await asked(new, port) == 7
        with pytest.raises(grpc.aio.AioRpcError):
            await asked(authority, port)
