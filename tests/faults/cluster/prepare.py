"""Migrate a database, and create the customer of a world: by the code on PYTHONPATH, which may be
of another version. Reads the settings as JSON, and prints the customer as JSON."""

import json
import sys
from dataclasses import asdict

from cli.environment import migrate_all
from tests.support.accounts import change_account, create_account


def main(owner_url: str, domain: str, plan: str) -> None:
    settings = json.load(sys.stdin)
    migrate_all(owner_url)
    customer = create_account(settings, domain)
    change_account(settings, customer.account_id, plan=plan)
    print(json.dumps(asdict(customer)))


if __name__ == "__main__":
    main(*sys.argv[1:])
