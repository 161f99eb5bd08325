"""A reader works through the pages of docs/ in order, and gets the output that they show.

A page's `sh` and `python` blocks run, unless a comment before the block says `not run`. A `json` or
`text` block right after one shows its output. `file: NAME` saves a block instead of running it.
"""

from pathlib import Path

import pytest

from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import Engine
from tests.support.pages import ROOT
from tests.support.reader import Reader, exported_by_make_run

PAGES = (
    "send-your-first-email", "test-with-the-sandbox", "shield", "verify-a-domain", "handle-bounces",
    "run-it-for-real", "read-the-topics", "api", "webhooks", "search-the-log",
    "set-up-a-customer", "figures", "plans-and-usage", "export-events", "request-log",
    "send-by-smtp", "erase-a-recipient", "egress-hosts", "blocklists",
)  # fmt: skip
SENDING_DOMAIN = "hello.obm-sandbox.net"  # the one of `make run`


def shell_environment(engine: Engine, folder: Path) -> dict[str, str]:
    account = create_account(engine.environment, SENDING_DOMAIN, test=True)
    return {
        **exported_by_make_run(engine, folder),
        "OBM_API_KEY": account.api_key,
        "OBM_OPERATOR_KEY": keys_of_callers(engine.environment)["accounts"],
    }


@pytest.mark.timeout(600)
def test_the_blocks_of_each_page_print_what_it_shows(engine: Engine, tmp_path: Path) -> None:
    reader = Reader(tmp_path, shell_environment(engine, tmp_path))
    for page in PAGES:
        reader.read_page(ROOT / "docs" / f"{page}.md")
