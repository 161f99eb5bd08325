"""shield on real Kafka: accepted messages are screened, and a dry run stores nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from google.protobuf.message import Message

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import (
    PRIORITY_BULK,
    PRIORITY_EXPRESS,
    MessageAccepted,
    MessageContext,
    Priority,
)
from contracts.router.v1.events_pb2 import CampaignsCounted, HeldMessageReviewed
from contracts.shield.v1.events_pb2 import (
    MessageScreened,
    ScreeningModel,
    ShadowDiffered,
    Verdict,
)
from contracts.shield.v1.learning_pb2 import OutcomeRecorded
from contracts.shield.v1.shield_service_pb2 import (
    ScoreRequest,
    ScoreResponse,
)
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceStub
from kernel import clock
from kernel.content import SealedContent, open_store
from kernel.crypto import SecretKeyring, new_content_key, new_secret_key, seal
from kernel.embedded.folder import free_port
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers
from kernel.rpc import RpcClient, RpcError
from kernel.service import run_services
from kernel.topics import DLQ_SUFFIX, contract_of, encode
from services.shield.app import create_service
from services.shield.settings import Settings
from tests.support.records import all_of
from tests.support.stack import FreshDatabase

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
TOKEN = "shared"
COPIES_MIN = 3
OFFER = (
    "Hello {name}, our spring sale begins on {day}. All shoes and boots are half price until the \
end of the week, and members of the club get free shipping on top. See you in the shop soon!"
)
OUTCOMES = contract_of(OutcomeRecorded.DESCRIPTOR).names
SCREENED = contract_of(MessageScreened.DESCRIPTOR).names
ACCEPTED = contract_of(MessageAccepted.DESCRIPTOR).names


class ShieldHarness:
    """An installation that runs shield only; the test takes the roles of ingest and router."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, folder: Path, database: FreshDatabase
    ) -> None:
        self.settings = Settings(
            system_database_url=database.system("shield"),
            tenant_database_url=database.tenant("shield"),
            campaign_copies_min=COPIES_MIN,
            kafka_bootstrap_servers=bootstrap_servers,
            kafka_topic_prefix=prefix,
            content_store_url=folder.as_uri(),
            secret_keys=[new_secret_key()],
            rpc_token=TOKEN,
            rpc_listen=f"127.0.0.1:{free_port()}",
        )
        self.database = database
        self.store = open_store(self.settings.content_store_url)
        self.tenant = Tenant(tenant_id=str(uuid4()), version=1)
        self.key = new_content_key()
        self.tenant.content_key = SecretKeyring(self.settings.secret_keys).encrypt(self.key)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        service = asyncio.create_task(run_services([create_service(self.settings)], stop=stop))
        try:
            yield
        finally:
            stop.set()
            await service

    async def publish(self, *events: Message) -> None:
        kafka = self.kafka()
        kafka.declare(MessageAccepted, MessageScreened, Tenant, CampaignsCounted, OutcomeRecorded)
        kafka.declare(ShadowDiffered, ScreeningModel, HeldMessageReviewed)
        await kafka.create_topics()
        await kafka.publish([encode(event, clock.now(), None) for event in events])
        await kafka.close()

    def kafka(self) -> Kafka:
        settings = self.settings
        return Kafka(
            Brokers.from_settings(settings),
            DependencyHealth(),
            prefix=settings.kafka_topic_prefix,
            secret_keys=settings.secret_keys,
        )

    async def accepted(
        self, text: str, priority: Priority.ValueType = PRIORITY_EXPRESS
    ) -> MessageAccepted:
        email_id, message_id = str(uuid4()), str(uuid4())
        content = Content(email_id=email_id, subject="Hello", text=text)
        associated = f"{self.tenant.tenant_id}/{email_id}".encode()
        sealed = seal(self.key, content.SerializeToString(), associated)
        await self.store.initialize()
        [reference] = await self.store.put_many([SealedContent(sealed, "now", date(2030, 1, 1))])
        context = MessageContext(
            message_id=message_id,
            email_id=email_id,
            tenant_id=self.tenant.tenant_id,
            content_ref=reference,
            priority=priority,
        )
        return MessageAccepted(message_id=message_id, priority=priority, context=context)

    async def read(self, *topics: str, count: int) -> list[bytes]:
        prefix = self.settings.kafka_topic_prefix
        consumer = AIOKafkaConsumer(
            *(prefix + topic for topic in topics),
            **Brokers.from_settings(self.settings).options(),
            auto_offset_reset="earliest",
        )
        async with consumer:
            return [(await consumer.getone()).value for _ in range(count)]

    async def read_all(self, topic: str) -> list[bytes]:
        """What is in the first partition now."""
        records = await all_of(
            self.settings.kafka_topic_prefix + topic, self.settings.kafka_bootstrap_servers
        )
        return [one.value or b"" for one in records]

    def figures(self, campaign_id: str) -> tuple[int, float]:
        """What a campaign has delivered, and its complaints as they were weighed."""
        query = "SELECT delivered, complained FROM shield.campaigns WHERE campaign_id = %s"
        with self.database.connect() as connection:
            found = connection.execute(query, (campaign_id,)).fetchone()
        return cast(tuple[int, float], found or (0, 0.0))

    def add_campaign(
        self, campaign_id: str, tenant_id: str = "", assessed: bytes | None = None
    ) -> None:
        """tenant_id: by default that of the installation's tenant."""
        with self.database.connect() as connection:
            connection.execute(
                "INSERT INTO shield.campaigns (campaign_id, tenant_id, fingerprint, assessed)"
                " VALUES (%s, %s, '', %s)",
                (campaign_id, tenant_id or self.tenant.tenant_id, assessed),
            )

    @asynccontextmanager
    async def rpc(self) -> AsyncIterator[tuple[Any, Any]]:
        """A function that calls an RPC, and a stub of shield."""
        peer = RpcClient("shield", self.settings.rpc_listen, TOKEN)
        try:
            yield partial(peer.call, deadline_s=30), ShieldServiceStub(peer.channel)
        finally:
            await peer.close()

    async def screened(self, count: int) -> dict[str, MessageScreened]:
        events = [
            MessageScreened.FromString(raw) for raw in await self.read(*SCREENED, count=count)
        ]
        return {event.message_id: event for event in events}

    async def score(self, content: Content, token: str = TOKEN) -> ScoreResponse:
        peer = RpcClient("shield", self.settings.rpc_listen, token)
        try:
            request = ScoreRequest(tenant_id=self.tenant.tenant_id, content=content)
            return await peer.call(ShieldServiceStub(peer.channel).Score, request, deadline_s=5)
        finally:
            await peer.close()


@pytest.fixture
def post(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> ShieldHarness:
    return ShieldHarness(bootstrap_servers, f"s{uuid4().hex[:8]}.", tmp_path, database)


async def test_accepted_mail_is_screened_in_its_priority(post: ShieldHarness) -> None:
    good = await post.accepted("Lunch at noon?")
    bad = await post.accepted(GTUBE, PRIORITY_BULK)
    await post.publish(post.tenant, good, bad)
    async with post.running():
        screened = await post.screened(2)
    assert screened[good.message_id].verdict == Verdict.VERDICT_PASS
    assert screened[good.message_id].context == good.context
    assert screened[bad.message_id].verdict == Verdict.VERDICT_BLOCK
    assert screened[bad.message_id].priority == PRIORITY_BULK
    assert screened[bad.message_id].reasons[0].rule == "gtube"


async def test_a_missing_content_holds_its_message_and_a_poisoned_record_is_dead_lettered(
    post: ShieldHarness,
) -> None:
    good, lost = await post.accepted("Lunch?"), await post.accepted("Lunch?")
    lost.context.content_ref = good.context.content_ref.replace(":0:", ":7:")
    gone = MessageAccepted()
    gone.CopyFrom(lost)
    gone.message_id = gone.context.message_id = str(uuid4())
    gone.context.content_ref = f"now/2020-01-01/{uuid4()}:0:10"
    await post.publish(post.tenant, good, lost, gone)
    await poison(post)
    async with post.running():
        screened = await post.screened(3)
        [dead_letter] = await post.read(ACCEPTED[0] + DLQ_SUFFIX, count=1)
    assert screened[good.message_id].verdict == Verdict.VERDICT_PASS
    assert screened[lost.message_id].reasons[0].rule == "content_unreadable"
    assert screened[gone.message_id].reasons[0].rule == "content_missing"
    assert dead_letter == b"\xff\xff"


async def poison(post: ShieldHarness) -> None:
    kafka = post.kafka()
    record = encode(await post.accepted("x"), clock.now(), None)
    record.value = b"\xff\xff"
    await kafka.publish([record])
    await kafka.close()


async def test_a_message_can_arrive_before_the_record_of_its_tenant(post: ShieldHarness) -> None:
    early = await post.accepted("Lunch at noon?")
    await post.publish(early)
    async with post.running():
        await asyncio.sleep(1)
        await post.publish(post.tenant)
        screened = await post.screened(1)
    assert screened[early.message_id].verdict == Verdict.VERDICT_PASS


async def test_a_dry_run_returns_score_reasons_and_thresholds(post: ShieldHarness) -> None:
    post.tenant.hold_score = 3.5
    await post.publish(post.tenant)
    async with post.running():
        while (response := await call_if_ready(post)) is None or response.hold_score != 3.5:
            await asyncio.sleep(0.1)
    assert response.verdict == Verdict.VERDICT_BLOCK
    assert response.score > response.block_score > response.hold_score
    assert response.reasons[0].rule == "gtube"
    assert response.rules_version


async def call_if_ready(post: ShieldHarness) -> ScoreResponse | None:
    """None while the server is not available yet."""
    with suppress(Exception):
        return await post.score(Content(text=GTUBE))
    return None


async def test_a_dry_run_without_the_rpc_token_is_refused(post: ShieldHarness) -> None:
    await post.publish(post.tenant)
    async with post.running():
        while await call_if_ready(post) is None:
            await asyncio.sleep(0.1)
        with pytest.raises(RpcError, match="OBM_RPC_TOKEN"):
            await post.score(Content(), token="another")


async def test_personalised_copies_are_one_campaign_also_for_a_process_that_starts_later(
    post: ShieldHarness,
) -> None:
    names = ["Ann", "Bob", "Cem", "Dan", "Eva", "Fay", "Gil", "Hal"]
    copies = [await post.accepted(OFFER.format(name=one, day=f"{len(one)} May")) for one in names]
    other = await post.accepted("Your parcel is at the post office, please bring your passport.")
    await post.publish(post.tenant, *copies[:4], other)
    async with post.running():
        await post.screened(5)
    await post.publish(*copies[4:])
    async with post.running():
        screened = await post.screened(9)
        [opened] = {
            event.opened.campaign_id: event.opened
            for raw in await post.read(*OUTCOMES, count=2)
            if (event := OutcomeRecorded.FromString(raw))
        }.values()
    found = [screened[one.message_id].context.campaign_id for one in copies]
    assert {*found} - {""} == {opened.campaign_id}
    assert found.count("") <= 2 * (COPIES_MIN - 1)
    assert max(one.campaign_ordinal for one in screened.values()) == len(copies)
    assert not screened[other.message_id].context.campaign_id
    assert not any(one.context.campaign_limited for one in screened.values())  # learning watches
    assert opened.tenant_id == post.tenant.tenant_id
    assert opened.entries
