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
    domain_service_pb2,
    domain_service_pb2_grpc,
    email_service_pb2,
    email_service_pb2_grpc,
    mailbox_service_pb2,
    mailbox_service_pb2_grpc,
    suppression_service_pb2,
    suppression_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from services.ingest.api.administration import Administration
from services.ingest.api.domains import Domains
from services.ingest.api.grpc.accounts import AccountServicer
from services.ingest.api.grpc.api_keys import ApiKeyServicer
from services.ingest.api.grpc.audit import AuditServicer
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.brands import BrandServicer
from services.ingest.api.grpc.domains import DomainServicer
from services.ingest.api.grpc.emails import EmailServicer
from services.ingest.api.grpc.mailboxes import MailboxServicer
from services.ingest.api.grpc.server import PublicService
from services.ingest.api.grpc.suppressions import SuppressionServicer
from services.ingest.api.grpc.tenants import TenantServicer
from services.ingest.api.grpc.webhooks import WebhookServicer
from services.ingest.api.suppressions import Suppressions
from services.ingest.api.webhooks import Webhooks


def public_services(
    access: RpcAccess,
    emails: EmailServicer,
    *,
    administration: Administration,
    domains: Domains,
    suppressions: Suppressions,
    webhooks: Webhooks,
) -> list[PublicService]:
    return [
        PublicService(
            name_in(email_service_pb2.DESCRIPTOR),
            emails,
            email_service_pb2_grpc.add_EmailServiceServicer_to_server,
        ),
        *administrative_services(access, administration),
        PublicService(
            name_in(domain_service_pb2.DESCRIPTOR),
            DomainServicer(access, domains),
            domain_service_pb2_grpc.add_DomainServiceServicer_to_server,
        ),
        PublicService(
            name_in(suppression_service_pb2.DESCRIPTOR),
            SuppressionServicer(access, suppressions),
            suppression_service_pb2_grpc.add_SuppressionServiceServicer_to_server,
        ),
        PublicService(
            name_in(webhook_service_pb2.DESCRIPTOR),
            WebhookServicer(access, webhooks),
            webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
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


def name_in(file: FileDescriptor) -> str:
    """The name of the only service of a file."""
    [service] = file.services_by_name.values()
    return str(service.full_name)
