"""What limits mail, what waits, test mail and scores: by gRPC as by REST."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.campaign_service_pb2 import CampaignInfo
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from tests.support.accounts import keys_of_callers
from tests.support.engine import DOMAIN, Engine
from tests.support.grpc_client import RPCS, fields_of, without_nothing
from tests.support.strangers import add_campaign

WITHIN_S = 120.0
ADDRESS = "192.0.2.77"


class Client:
    """Calls RPCs, and the REST API with the same key."""

    def __init__(self, channel: grpc.Channel, engine: Engine, key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {key}"),)
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=engine.url, headers=headers, timeout=120)

    def call(self, name: str, /, **fields: object) -> Any:  # noqa: ANN401 - its response
        rpc = RPCS[name]
        method: Any = self._channel.unary_unary(
            f"/{rpc.service}/{name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=GetMessageClass(rpc.method.output_type).FromString,
        )
        return method(rpc.request(**fields), metadata=self._metadata, timeout=60)

    def code(self, name: str, /, **fields: object) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as refused:
            self.call(name, **fields)
        error: Any = refused.value
        code: grpc.StatusCode = error.code()
        return code

    def rest(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Without what a protobuf message does not tell apart from nothing."""
        return without_nothing(self.http.get(path).json())


@pytest.fixture(scope="module")
def operator(engine: Engine) -> Iterator[Client]:
    key = keys_of_callers(engine.environment)["accounts"]
    with grpc.insecure_channel(engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        client = Client(channel, engine, key)
        with client.http:
            yield client


@pytest.fixture(scope="module")
def tenant(engine: Engine) -> Iterator[Client]:
    with grpc.insecure_channel(engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        client = Client(channel, engine, engine.account.api_key)
        with client.http:
            yield client


def test_campaigns_are_listed_as_by_rest(operator: Client, tenant: Client, engine: Engine) -> None:
    tenant_id = engine.account.tenant_id
    assessed = CampaignAssessed(change="paced", evidence=-0.5, allowed=2_000, enforced=True)
    assessed.assessed_at.FromSeconds(1_790_000_000)
    new = add_campaign(engine, tenant_id)
    paced = add_campaign(engine, tenant_id, assessed.SerializeToString())
    listed = operator.call("ListCampaigns").campaigns
    by_rest = operator.http.get("/shield/campaigns").json()["data"]
    assert list(listed) == [
        ParseDict(one, CampaignInfo(), ignore_unknown_fields=True) for one in by_rest
    ]
    assert {new, paced} <= {one.id for one in listed}
    [limited] = operator.call("ListCampaigns", assessment="paced", action="limited").campaigns
    assert (limited.id, limited.allowance) == (paced, 2_000)
    assert operator.call("GetCampaign", id=paced).campaign == limited

    assert operator.code("GetCampaign", id=str(uuid.uuid4())) == grpc.StatusCode.NOT_FOUND
    assert operator.code("ListCampaigns", action="blocked") == grpc.StatusCode.INVALID_ARGUMENT
    # Its key is one for test mail, which is in no campaign.
    assert tenant.code("ListCampaigns") == grpc.StatusCode.PERMISSION_DENIED


def test_a_pool_and_its_egress_source_are_made_changed_and_removed(operator: Client) -> None:
    pool = operator.call("CreatePool", name="by grpc").pool
    assert fields_of(pool) == operator.rest("/pools?name=by grpc")["data"][0]
    listed = operator.call("ListPools", name="by grpc").pools
    assert list(listed) == [pool]
    default = operator.rest("/pools?name=default")["data"][0]["id"]
    changed = operator.call("UpdatePool", id=pool.id, overflow_pool_id=default).pool
    assert changed.overflow_pool_id == default
    assert operator.call("UpdatePool", id=pool.id).pool == changed
    nobody = str(uuid.uuid4())
    for given in ({"overflow_pool_id": nobody}, {"feedback_domain_id": nobody}):
        assert operator.code("UpdatePool", id=pool.id, **given) == grpc.StatusCode.INVALID_ARGUMENT
    assert operator.call("UpdatePool", id=pool.id, overflow_pool_id="").pool == pool

    ip = operator.call("AddIp", addresses=[ADDRESS], pool_id=pool.id, warmup="default").ip
    assert (list(ip.addresses), ip.pool_id, ip.warmup.stage) == ([ADDRESS], pool.id, 1)
    assert operator.call("UpdateIp", id=ip.id, paused=True).ip.paused
    until = Timestamp(seconds=int(time.time()) + 3600)
    at_yahoo = operator.call("SuspendIp", id=ip.id, until=until, site="yahoo").ip
    assert at_yahoo.sites[0].suspended_until == until
    lower = operator.code("ChangeWarmup", id=ip.id, action="lower")
    assert lower == grpc.StatusCode.INVALID_ARGUMENT
    assert operator.call("ChangeWarmup", id=ip.id, action="pause").ip.warmup.status == "paused"
    shown, rest = operator.call("GetIp", id=ip.id).ip, operator.rest(f"/ips/{ip.id}")
    assert (shown.state, shown.ehlo) == (rest["state"], "")
    assert [one.site for one in shown.sites] == [one["site"] for one in rest["sites"]]
    assert not operator.call("ResumeIp", id=ip.id).ip.paused
    assert [one.id for one in operator.call("ListIps", address=ADDRESS).ips] == [ip.id]
    assert operator.code("DeletePool", id=pool.id) == grpc.StatusCode.FAILED_PRECONDITION
    assert operator.call("RemoveIp", id=ip.id).id == ip.id
    assert operator.call("DeletePool", id=pool.id).id == pool.id


def test_limits_and_overrides_are_set_listed_and_removed(operator: Client, tenant: Client) -> None:
    tenant_id = operator.rest("/tenants")["data"][-1]["id"]
    scope = f"tenant/{tenant_id}"
    assert operator.call("SetLimits", scope=scope, per_hour=70).limits.per_hour == 70
    [limit] = operator.call("ListLimits", scope=scope).limits
    [rest] = operator.rest(f"/limits?scope={scope}")["data"]
    assert (limit.id, limit.maximum, limit.set_by) == (rest["id"], 70, rest["set_by"])
    assert operator.code("SetLimits", scope="planet/mars") == grpc.StatusCode.INVALID_ARGUMENT
    operator.call("SetLimits", scope=scope)
    assert operator.call("ListLimits", scope=scope).limits == []

    set_ = operator.call("SetOverride", tenant_id=tenant_id, per_minute=9, hours=1.5).override
    assert (set_.scope, set_.action, set_.per_minute) == (scope, "slow_down", 9)
    assert set_.until.seconds - set_.set_at.seconds == 5400
    assert fields_of(set_) in operator.rest("/overrides")["data"]
    assert set_ in operator.call("ListOverrides").overrides
    assert operator.call("RemoveOverride", id=set_.id).id == set_.id
    assert operator.code("RemoveOverride", id=set_.id) == grpc.StatusCode.NOT_FOUND
    assert operator.call("ListStandings").standings == []
    assert tenant.code("ListIps") == grpc.StatusCode.PERMISSION_DENIED  # a test key


def test_test_mail_is_scored_sent_and_read(tenant: Client) -> None:
    email = {"from": f"a@{DOMAIN}", "to": ["delivered@obm-sandbox.net"], "subject": "By gRPC"}
    scored = tenant.call("ScoreEmail", email={**email, "text": "x"})
    body = {**email, "text": "x"}
    rest = tenant.http.post("/shield/score", json=body).json()
    assert (scored.verdict, scored.block_score) == (rest["verdict"], rest["block_score"])
    sent = tenant.call("SendEmail", email={**email, "text": "x"}).id
    deadline = time.monotonic() + WITHIN_S
    while "email.delivered" not in {one.type for one in events_of(tenant, sent)}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    timeline = events_of(tenant, sent)
    assert len(timeline) == len(tenant.rest(f"/emails/{sent}/events")["data"])
    last = tenant.call("ListEmailEvents", id=sent, page_token=timeline[-2].id).events
    assert list(last) == timeline[-1:]
    [found] = tenant.call("ListSandboxMessages", page_size=1).messages
    got = tenant.call("GetSandboxMessage", id=found.id)
    assert (got.message, got.message.email_id) == (found, sent)
    assert got.raw == tenant.http.get(f"/sandbox/messages/{found.id}/raw").content
    assert tenant.code("ReleaseEmail", id=sent) == grpc.StatusCode.FAILED_PRECONDITION


def events_of(tenant: Client, email_id: str) -> list[Any]:
    return list(tenant.call("ListEmailEvents", id=email_id).events)


def test_what_waits_is_listed_and_canceled(tenant: Client) -> None:
    email = {"from": f"a@{DOMAIN}", "to": ["delivered@later.example"], "subject": "Later"}
    due = Timestamp(seconds=int(time.time()) + 86_400)
    sent = tenant.call("SendEmail", email={**email, "text": "x", "scheduled_at": due}).id
    assert tenant.code("CancelQueued", filter={}) == grpc.StatusCode.INVALID_ARGUMENT
    wanted = {"recipient_domain": "later.example"}
    deadline = time.monotonic() + WITHIN_S
    while not tenant.call("CancelQueued", filter=wanted, dry_run=True).matched:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    queues, rest = tenant.call("ListQueues").queues, tenant.rest("/queues")["data"]
    assert [one.id for one in queues] == [one["id"] for one in rest] != []
    canceled = tenant.call("CancelQueued", filter=wanted)
    assert (canceled.matched, canceled.canceled, canceled.next) == (1, 1, "")
    assert tenant.call("GetEmail", id=sent).email.last_event == "canceled"
