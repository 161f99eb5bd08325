"""`obm brand`: the names by which customers know the installation."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.tenant import given

app = noun("Brands: the names by which customers know the installation.")

FIELDS = (
    "id", "name", "slug", "sandbox_domain", "api_hosts", "smtp_host", "docs_host", "tracking_host",
    "unsubscribe_host", "bounce_mx", "spf_include", "selector_prefix", "dkim_zone", "logo_url",
    "color", "problem_type", "user_agent", "source", "created_at",
)  # fmt: skip

BrandArgument = Annotated[str, typer.Argument(metavar="BRAND", help="Brand, by id or name")]
Slug = Annotated[str | None, typer.Option(help="2 to 20 lower-case letters: keys begin with it")]
SandboxDomain = Annotated[str | None, typer.Option(help="Accepts test mail only")]
ApiHosts = Annotated[
    list[str] | None,
    typer.Option("--api-host", help="Requests to this host have the brand; repeat it for others"),
]
SmtpHost = Annotated[str | None, typer.Option(help="Name of the SMTP server")]
BounceMx = Annotated[str | None, typer.Option(help="MX in the DNS records of new domains")]
SpfInclude = Annotated[str | None, typer.Option(help="SPF in the DNS records of new domains")]
SelectorPrefix = Annotated[str | None, typer.Option(help="Of the DKIM selectors of new keys")]
DkimZone = Annotated[
    str | None, typer.Option(help="A DNS zone of yours with the DKIM keys of new domains")
]
LogoUrl = Annotated[str | None, typer.Option(help="https, on the pages that recipients see")]
Color = Annotated[str | None, typer.Option(help="Of these pages, such as #0a66c2")]
DocsHost = Annotated[str | None, typer.Option(help="Host of the API reference")]
TrackingHost = Annotated[str | None, typer.Option(help="Host of tracked links")]
UnsubscribeHost = Annotated[str | None, typer.Option(help="Host of unsubscribe pages")]
ProblemType = Annotated[str | None, typer.Option(help="Before the name of an error in its type")]
UserAgent = Annotated[str | None, typer.Option(help="Of webhooks and downloads")]


@app.command()
def create(  # noqa: PLR0913 - an option for each field
    name: str,
    *,
    slug: Annotated[str, typer.Option(help="2 to 20 lower-case letters: keys begin with it")],
    sandbox_domain: Annotated[str, typer.Option(help="Accepts test mail only")],
    api_hosts: ApiHosts = None,
    smtp_host: SmtpHost = None,
    bounce_mx: BounceMx = None,
    spf_include: SpfInclude = None,
    selector_prefix: SelectorPrefix = None,
    dkim_zone: DkimZone = None,
    logo_url: LogoUrl = None,
    color: Color = None,
    docs_host: DocsHost = None,
    tracking_host: TrackingHost = None,
    unsubscribe_host: UnsubscribeHost = None,
    problem_type: ProblemType = None,
    user_agent: UserAgent = None,
) -> None:
    """Create a brand and print its id. It is in force within a second.

    \b
    obm brand create "Partner Post" --slug partner --sandbox-domain sandbox.partner.example \\
      --api-host api.partner.example --smtp-host smtp.partner.example
    obm account create One --brand "Partner Post"

    What is left out follows from the slug, or is that of the installation. A host belongs to one
    brand only. Its certificate is a file: see docs/run-it-for-real.md.
    """
    console.print(open_api().post("/brands", fields(locals()))["id"])


@app.command()
def update(  # noqa: PLR0913 - an option for each field
    brand: BrandArgument,
    *,
    name: Annotated[str | None, typer.Option(help="What customers call it")] = None,
    slug: Slug = None,
    sandbox_domain: SandboxDomain = None,
    api_hosts: ApiHosts = None,
    smtp_host: SmtpHost = None,
    bounce_mx: BounceMx = None,
    spf_include: SpfInclude = None,
    selector_prefix: SelectorPrefix = None,
    dkim_zone: DkimZone = None,
    logo_url: LogoUrl = None,
    color: Color = None,
    docs_host: DocsHost = None,
    tracking_host: TrackingHost = None,
    unsubscribe_host: UnsubscribeHost = None,
    problem_type: ProblemType = None,
    user_agent: UserAgent = None,
) -> None:
    """Change the given options of a brand, within a second. An empty text restores the default.

    \b
    obm brand update "Partner Post" --docs-host docs.partner.example
    obm brand update "Partner Post" --api-host api.partner.example --api-host api2.partner.example

    Keys, DKIM selectors and DNS records that exist stay as they are.
    """
    changes = fields(locals())
    api = open_api()
    api.patch(f"/brands/{api.find('brands', brand)['id']}", changes)


def fields(options: dict[str, Any]) -> dict[str, Any]:
    """The given options as fields of a request. `--api-host ""` removes all hosts."""
    found = given((name, value) for name, value in options.items() if name != "brand")
    if "name" in found:
        found["name"] = " ".join(found["name"].split())
    if "api_hosts" in found:
        found["api_hosts"] = [host for host in found["api_hosts"] if host]
    return found


@app.command()
def show(brand: BrandArgument) -> None:
    """Show all names of a brand."""
    found = open_api().find("brands", brand)
    for name in FIELDS:
        if value := found[name]:
            text = ", ".join(value) if isinstance(value, list) else value
            console.print(f"{name:<17} {text}", markup=False)


@app.command("list")
def list_brands() -> None:
    """List the brands: those of OBM_BRANDS_FILE, then the newest first."""
    print_table(
        (id_column("brand"), "name", "slug", "API hosts", "SMTP host", "source"),
        (
            (
                one["id"],
                one["name"],
                one["slug"],
                ", ".join(one["api_hosts"]),
                one["smtp_host"] or "",
                one["source"],
            )
            for one in open_api().items("/brands")
        ),
    )


@app.command()
def remove(brand: BrandArgument) -> None:
    """Remove a brand that no account has. Its keys still work, its domains keep their records."""
    api = open_api()
    api.delete(f"/brands/{api.find('brands', brand)['id']}")
