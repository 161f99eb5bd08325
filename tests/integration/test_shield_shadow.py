"""A second model beside the live one, and the history of models, on real Kafka."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.shield.v1.events_pb2 import ScreeningModel, ShadowDiffered, Verdict
from contracts.shield.v1.shield_service_pb2 import ListModelsRequest
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceStub
from kernel.errors import ConfigError
from kernel.rpc import RpcClient, RpcError, RpcUnavailable
from kernel.topics import contract_of
from services.shield.app import create_service
from services.shield.domain.learning.canaries import canary_arrays, read_canaries
from services.shield.domain.model.file import load_model, pack_model
from services.shield.settings import Settings
from tests.integration.test_shield import GTUBE, TOKEN, ShieldHarness, post

__all__ = ["post"]
SHADOW = contract_of(ShadowDiffered.DESCRIPTOR).names


def stricter_model(post: ShieldHarness, folder: Path, *, by: float) -> Path:
    """The live one with lower cut points, in log odds."""
    packed, file = post.settings.model_file.read_bytes(), folder / "stricter.model"
    model = load_model(packed)
    stricter = replace(model, hold=model.hold - by, block=model.block - by)
    file.write_bytes(pack_model(stricter, canary_arrays(read_canaries(packed))))
    return file


async def test_a_second_model_publishes_where_it_differs_and_decides_nothing(
    post: ShieldHarness, tmp_path: Path
) -> None:
    strict = stricter_model(post, tmp_path, by=50)
    post.settings.shadow_model_file = strict
    good, bad = await post.accepted("Lunch at noon?"), await post.accepted(GTUBE)
    await post.publish(post.tenant, good, bad)
    async with post.running():
        screened = await post.screened(2)
        [raw] = await post.read(*SHADOW, count=1)
    differed = ShadowDiffered.FromString(raw)
    assert screened[good.message_id].verdict == Verdict.VERDICT_PASS
    assert differed.message_id == good.message_id
    assert differed.live.verdict == Verdict.VERDICT_PASS
    assert differed.live.model_version == screened[good.message_id].model_version
    assert differed.shadow.verdict != Verdict.VERDICT_PASS
    assert differed.shadow_version == load_model(strict.read_bytes()).version


async def test_the_history_has_each_model_with_its_first_and_its_last_start(
    post: ShieldHarness, tmp_path: Path
) -> None:
    model = load_model(post.settings.model_file.read_bytes())
    other = stricter_model(post, tmp_path, by=1)
    newer = load_model(other.read_bytes()).version
    await post.publish()
    post.settings.shadow_model_file = other
    async with post.running():
        first = await models(post, {model.version: False, newer: True})
    post.settings.model_file, post.settings.shadow_model_file = other, None
    async with post.running():
        second = await models(post, {model.version: False, newer: False})
    for version in (model.version, newer):
        assert second[version].first_started_at == first[version].first_started_at
    assert first[newer].last_started_at.ToMicroseconds() < second[newer].version
    assert first[model.version].rules_version


async def models(post: ShieldHarness, roles: dict[str, bool]) -> dict[str, ScreeningModel]:
    """By version, as soon as these are in the role of a shadow, or not."""
    peer = RpcClient("shield", post.settings.rpc_listen, TOKEN)
    try:
        async with asyncio.timeout(240):
            while True:
                with suppress(RpcError, RpcUnavailable):
                    response = await peer.call(
                        ShieldServiceStub(peer.channel).ListModels,
                        ListModelsRequest(),
                        deadline_s=5,
                    )
                    found = {one.model_version: one for one in response.models}
                    if {version: one.shadow for version, one in found.items()} == roles:
                        return found
                await asyncio.sleep(0.1)
    finally:
        await peer.close()


def test_a_second_model_that_is_none_is_refused_at_start(
    post: ShieldHarness, tmp_path: Path
) -> None:
    post.settings.shadow_model_file = tmp_path / "missing.model"
    with pytest.raises(ConfigError, match="SHIELD_SHADOW_MODEL_FILE"):
        asyncio.run(start(post.settings))


async def start(settings: Settings) -> None:
    create_service(settings)
