"""The services of the public gRPC API."""

from google.protobuf.descriptor import FileDescriptor

from contracts.ingest.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    brand_service_pb2,
    brand_service_pb2_grpc,
    campaign_service_pb2,
    campaign_service_pb2_grpc,
    domain_service_pb2,
    domain_service_pb2_grpc,
    email_service_pb2,
    email_service_pb2_grpc,
    export_service_pb2,
    export_service_pb2_grpc,
    health_service_pb2,
    health_service_pb2_grpc,
    held_mail_service_pb2,
    held_mail_service_pb2_grpc,
    ip_service_pb2,
    ip_service_pb2_grpc,
    limit_service_pb2,
    limit_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
    mailbox_service_pb2,
    mailbox_service_pb2_grpc,
    metrics_service_pb2,
    metrics_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    override_service_pb2,
    override_service_pb2_grpc,
    pool_service_pb2,
    pool_service_pb2_grpc,
    queue_service_pb2,
    queue_service_pb2_grpc,
    recipient_service_pb2,
    recipient_service_pb2_grpc,
    report_service_pb2,
    report_service_pb2_grpc,
    sandbox_service_pb2,
    sandbox_service_pb2_grpc,
    suppression_service_pb2,
    suppression_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from services.ingest.api.administration import Administration
from services.ingest.api.grpc.accounts import AccountServicer
from services.ingest.api.grpc.api_keys import ApiKeyServicer
from services.ingest.api.grpc.audit import AuditServicer
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.brands import BrandServicer
from services.ingest.api.grpc.campaigns import CampaignServicer
from services.ingest.api.grpc.domains import DomainServicer
from services.ingest.api.grpc.emails import EmailServicer
from services.ingest.api.grpc.exports import ExportServicer
from services.ingest.api.grpc.health import HealthServicer
from services.ingest.api.grpc.held import HeldMailServicer
from services.ingest.api.grpc.ips import IpServicer
from services.ingest.api.grpc.limits import LimitServicer
from services.ingest.api.grpc.logs import LogServicer
from services.ingest.api.grpc.mailboxes import MailboxServicer
from services.ingest.api.grpc.metrics import MetricsServicer
from services.ingest.api.grpc.models import ModelServicer
from services.ingest.api.grpc.overrides import OverrideServicer
from services.ingest.api.grpc.pools import PoolServicer
from services.ingest.api.grpc.queues import QueueServicer
from services.ingest.api.grpc.recipients import RecipientServicer
from services.ingest.api.grpc.reports import ReportServicer
from services.ingest.api.grpc.sandbox import SandboxServicer
from services.ingest.api.grpc.server import PublicService
from services.ingest.api.grpc.suppressions import SuppressionServicer
from services.ingest.api.grpc.tenants import TenantServicer
from services.ingest.api.grpc.usage import UsageServicer
from services.ingest.api.grpc.webhooks import WebhookServicer
from services.ingest.api.resources import ApiResources


def public_services(
    access: RpcAccess,
    emails: EmailServicer,
    resources: ApiResources,
) -> list[PublicService]:
    return [
        PublicService(
            name_in(email_service_pb2.DESCRIPTOR),
            emails,
            email_service_pb2_grpc.add_EmailServiceServicer_to_server,
        ),
        *administrative_services(access, resources.administration),
        *address_services(access, resources),
        *reporting_services(access, resources),
        *counting_services(access, resources),
        PublicService(
            name_in(webhook_service_pb2.DESCRIPTOR),
            WebhookServicer(access, resources.webhooks, resources.webhook_events),
            webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
        ),
        PublicService(
            name_in(sandbox_service_pb2.DESCRIPTOR),
            SandboxServicer(access, resources.sandbox),
            sandbox_service_pb2_grpc.add_SandboxServiceServicer_to_server,
        ),
        *screening_services(access, resources),
        *egress_services(access, resources),
    ]


def address_services(access: RpcAccess, resources: ApiResources) -> list[PublicService]:
    """From which domains mail is sent, to whom it must not be, and who wants to be forgotten."""
    return [
        PublicService(
            name_in(domain_service_pb2.DESCRIPTOR),
            DomainServicer(access, resources.domains, resources.domain_reports),
            domain_service_pb2_grpc.add_DomainServiceServicer_to_server,
        ),
        PublicService(
            name_in(suppression_service_pb2.DESCRIPTOR),
            SuppressionServicer(access, resources.suppressions, resources.suppression_files),
            suppression_service_pb2_grpc.add_SuppressionServiceServicer_to_server,
        ),
        PublicService(
            name_in(recipient_service_pb2.DESCRIPTOR),
            RecipientServicer(access, resources.recipients),
            recipient_service_pb2_grpc.add_RecipientServiceServicer_to_server,
        ),
    ]


def counting_services(access: RpcAccess, resources: ApiResources) -> list[PublicService]:
    """What became of mail, and what was used."""
    return [
        PublicService(
            name_in(metrics_service_pb2.DESCRIPTOR),
            MetricsServicer(access, resources.metrics),
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
        ),
        PublicService(
            name_in(usage_service_pb2.DESCRIPTOR),
            UsageServicer(access, resources.usage),
            usage_service_pb2_grpc.add_UsageServiceServicer_to_server,
        ),
    ]


def administrative_services(
    access: RpcAccess, administration: Administration
) -> list[PublicService]:
    return [
        PublicService(
            name_in(account_service_pb2.DESCRIPTOR),
            AccountServicer(access, administration.accounts),
            account_service_pb2_grpc.add_AccountServiceServicer_to_server,
        ),
        PublicService(
            name_in(brand_service_pb2.DESCRIPTOR),
            BrandServicer(access, administration.brands),
            brand_service_pb2_grpc.add_BrandServiceServicer_to_server,
        ),
        PublicService(
            name_in(tenant_service_pb2.DESCRIPTOR),
            TenantServicer(access, administration.tenants),
            tenant_service_pb2_grpc.add_TenantServiceServicer_to_server,
        ),
        PublicService(
            name_in(api_key_service_pb2.DESCRIPTOR),
            ApiKeyServicer(access, administration.api_keys),
            api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server,
        ),
        PublicService(
            name_in(mailbox_service_pb2.DESCRIPTOR),
            MailboxServicer(access, administration.mailboxes),
            mailbox_service_pb2_grpc.add_MailboxServiceServicer_to_server,
        ),
        PublicService(
            name_in(audit_service_pb2.DESCRIPTOR),
            AuditServicer(access, administration.audit_log),
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        ),
    ]


def reporting_services(access: RpcAccess, resources: ApiResources) -> list[PublicService]:
    """What became of mail, as figures and as files, and of requests."""
    return [
        PublicService(
            name_in(metrics_service_pb2.DESCRIPTOR),
            MetricsServicer(access, resources.metrics),
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
        ),
        PublicService(
            name_in(export_service_pb2.DESCRIPTOR),
            ExportServicer(access, resources.exports),
            export_service_pb2_grpc.add_ExportServiceServicer_to_server,
        ),
        PublicService(
            name_in(report_service_pb2.DESCRIPTOR),
            ReportServicer(access, resources.reports),
            report_service_pb2_grpc.add_ReportServiceServicer_to_server,
        ),
        PublicService(
            name_in(log_service_pb2.DESCRIPTOR),
            LogServicer(access, resources.logs),
            log_service_pb2_grpc.add_LogServiceServicer_to_server,
        ),
        PublicService(
            name_in(health_service_pb2.DESCRIPTOR),
            HealthServicer(access, resources.health),
            health_service_pb2_grpc.add_HealthServiceServicer_to_server,
        ),
    ]


def screening_services(access: RpcAccess, resources: ApiResources) -> list[PublicService]:
    """What is held and why, and what screens messages."""
    return [
        PublicService(
            name_in(held_mail_service_pb2.DESCRIPTOR),
            HeldMailServicer(access, resources.held),
            held_mail_service_pb2_grpc.add_HeldMailServiceServicer_to_server,
        ),
        PublicService(
            name_in(campaign_service_pb2.DESCRIPTOR),
            CampaignServicer(access, resources.campaigns),
            campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server,
        ),
        PublicService(
            name_in(model_service_pb2.DESCRIPTOR),
            ModelServicer(access, resources.models),
            model_service_pb2_grpc.add_ModelServiceServicer_to_server,
        ),
    ]


def egress_services(access: RpcAccess, resources: ApiResources) -> list[PublicService]:
    """What waits, what limits it, and what it leaves from."""
    return [
        PublicService(
            name_in(queue_service_pb2.DESCRIPTOR),
            QueueServicer(access, resources.queues),
            queue_service_pb2_grpc.add_QueueServiceServicer_to_server,
        ),
        PublicService(
            name_in(limit_service_pb2.DESCRIPTOR),
            LimitServicer(access, resources.limits),
            limit_service_pb2_grpc.add_LimitServiceServicer_to_server,
        ),
        PublicService(
            name_in(pool_service_pb2.DESCRIPTOR),
            PoolServicer(access, resources.pools),
            pool_service_pb2_grpc.add_PoolServiceServicer_to_server,
        ),
        PublicService(
            name_in(ip_service_pb2.DESCRIPTOR),
            IpServicer(access, resources.sources),
            ip_service_pb2_grpc.add_IpServiceServicer_to_server,
        ),
        PublicService(
            name_in(override_service_pb2.DESCRIPTOR),
            OverrideServicer(access, resources.overrides),
            override_service_pb2_grpc.add_OverrideServiceServicer_to_server,
        ),
    ]


def name_in(file: FileDescriptor) -> str:
    """The name of the only service of a file."""
    [service] = file.services_by_name.values()
    return str(service.full_name)
